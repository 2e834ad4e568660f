"""The options of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipelines.listing import Listing
from transforms import defaults
from transforms.errors import UsageError
from transforms.history.known import History, Retries
from transforms.inference.recipe import Recipe
from transforms.process import Settings
from transforms.tables import layout


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """The options of the graph.

    Attributes:
        images: The sources of the images, see ``sources.list_images``.
        recipes: One recipe for each table to write.
        settings: How to process units.
        uri_column: The column of a manifest that has the URIs.
        retries: Which failures of earlier runs are retried.
        check_versions: Look up the current version of images whose listing has none.
        unit_size: Maximum number of images in a unit.
        workers: Number of concurrent workers. A small job has a unit for each.
        limit: Maximum number of missing images that this run processes.
        days: The logical days of sources that are not for the day of the run.
        accelerator: The resource hint of the step that runs the models, for a runner that gives machines to a step.
        index_places: The folders with key indexes of a table, if it is not only that of the output.
    """

    images: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    settings: Settings
    uri_column: str = defaults.URI_COLUMN
    retries: Retries = field(default_factory=Retries)
    check_versions: bool = False
    unit_size: int = defaults.UNIT_SIZE
    workers: int = 1
    limit: int | None = None
    days: Mapping[str, str] = field(default_factory=dict)
    accelerator: str | None = None
    index_places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise UsageError("no images: pass a file, folder, glob or manifest with --images")
        if not self.recipes:
            raise UsageError("--classifier none and --embedder none leave nothing to do; pass at least one model")
        if self.unit_size < 1:
            raise UsageError(f"--unit-size {self.unit_size} is too small; pass 1 or more")

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the names of the tables to write."""
        return tuple(recipe.table for recipe in self.recipes)

    def with_lock(self, token: str) -> CatalogOptions:
        """Return the options of a run that holds the lock with this token."""
        return replace(self, settings=replace(self.settings, lock_token=token))

    def listing(self) -> Listing:
        """Return what to list."""
        return Listing(
            images=self.images,
            run_id=self.settings.run_id,
            uri_column=self.uri_column,
            image_column=self.settings.shards.image_column,
            leave_out=layout.own_files(self.settings.output),
            days=self.days,
        )

    def history(self) -> History:
        """Return what the tables have already."""
        own = dict.fromkeys(layout.with_logs(self.tables), (self.settings.output,))
        return History({**own, **self.index_places}, self.tables, self.retries)
