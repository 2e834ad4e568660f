"""The Beam graph. It reads image sources, and writes predictions, vectors, failures and a run report.

Prepare -> Missing -> Units -> Process -> Publish -> Report. Only refs, names and sums are shuffled, never bytes, pixels
or vectors. They are shuffled as plain tuples in chunks, which Beam encodes fast.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import listing, publish
from transforms import counts, defaults
from transforms.counts import Tally
from transforms.errors import UsageError
from transforms.history import subtract, units
from transforms.history.known import History, Retries
from transforms.inference.recipe import Recipe
from transforms.listing import sources
from transforms.process import ProcessUnits, Settings
from transforms.records import Unit

WriteReport = Callable[[Tally], None]

_TALLY = "tally"


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
        more_keys: A folder with key indexes besides those of the output.
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
    more_keys: str | None = None

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

    def history(self) -> History:
        """Return what the tables have already."""
        places = [self.settings.output, *([self.more_keys] if self.more_keys else [])]
        return History(places, self.tables, self.retries)


def build(pipeline: beam.Pipeline, options: CatalogOptions, write_report: WriteReport) -> None:
    """Add the job to a pipeline.

    Args:
        pipeline: The pipeline.
        options: The options of the graph.
        write_report: Called once with the sums of the whole run, after all units.
    """
    prepared = pipeline | "Prepare" >> publish.Prepare(options.tables, options.settings)
    missing = pipeline | "Missing" >> _Missing(options, [beam.pvalue.AsIter(prepared)])
    work, tallies = missing.work, [prepared, missing[_TALLY]]
    if options.limit is not None:
        limited = work | "Limit" >> _Limit(options.limit)
        work, tallies = limited.work, [*tallies, limited[_TALLY]]
    units_ = work | "Units" >> _Units(options)
    process = beam.ParDo(ProcessUnits(options.recipes, options.settings))
    done = units_ | "Process" >> process.with_outputs(ProcessUnits.TALLY, main="files")
    published = done.files | "Publish" >> publish.Publish(options.tables, options.settings)
    _ = (*tallies, done[ProcessUnits.TALLY], published) | "Report" >> _Report(write_report)


def count(pipeline: beam.Pipeline, options: CatalogOptions) -> None:
    """Add only the steps of the job that count the missing images. Nothing is processed or written."""
    _ = pipeline | "Missing" >> _Missing(options, [])


class _Missing(beam.PTransform):
    """Sources -> ``work``: the images that the tables lack, in sorted lists of Work.

    If no image can be listed twice, each chunk of a listing is compared with the key indexes at once. Otherwise refs
    are shuffled into ranges of URIs first. Keys of the tables are never shuffled.
    """

    def __init__(self, options: CatalogOptions, ready: Any) -> None:
        super().__init__()
        self._options = options
        self._ready = ready

    def expand(self, pipeline: beam.Pipeline) -> Any:
        options = self._options
        subtract_ = beam.ParDo(_Subtract(options))
        chunks = pipeline | "Images" >> listing.List(
            options.images, options.uri_column, options.days, options.workers, self._ready
        )
        if sources.may_overlap(options.images):
            chunks = chunks | "Shards" >> listing.Shards(options.history)
        return chunks | "Subtract" >> subtract_.with_outputs(_TALLY, main="work")


class _Subtract(beam.DoFn):
    """A chunk of refs -> the work that is missing, in lists, and a tally."""

    def __init__(self, options: CatalogOptions) -> None:
        self._options = options
        self._history: History | None = None

    def process(self, chunk: tuple[list[Any], int]) -> Iterator[Any]:
        refs, ignored = chunk
        self._history = self._history or self._options.history()
        look_up = sources.look_up if self._options.check_versions else None
        work, tally = subtract.missing([refs], self._history.find, self._options.tables, look_up)
        tally[counts.IGNORED] = ignored
        unlisted = Counter({name: count for name, count in tally.items() if name != counts.LISTED})  # List adds those
        counts.publish(unlisted)
        counts.LIVE.add(unlisted)
        counts.KEPT.add(tally)
        yield beam.pvalue.TaggedOutput(_TALLY, tally)
        yield from _chunks([(tuple(item.ref), item.tables, item.attempt) for item in work])


class _Limit(beam.PTransform):
    """Work -> ``work``: the first missing images by URI."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def expand(self, work: beam.PCollection) -> Any:
        total = work | "Count" >> beam.Map(len) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        return (
            work
            | "First" >> beam.CombineGlobally(partial(_first, limit=self._limit))
            | "Leave the rest" >> beam.FlatMap(_count_rest, total).with_outputs(_TALLY, main="work")
        )


def _first(parts: Iterable[list[Any]], limit: int) -> list[Any]:
    return heapq.nsmallest(limit, chain.from_iterable(parts))


def _count_rest(work: list[Any], total: int) -> Iterator[Any]:
    rest = total - len(work)
    tally = Counter({counts.MISSING: -rest, counts.LEFT: rest})  # "Missing" counted the rest as missing
    counts.publish(tally)
    counts.LIVE.add(tally)
    counts.KEPT.add(tally)
    yield beam.pvalue.TaggedOutput(_TALLY, tally)
    yield from _chunks(work)


def _chunks(work: list[Any]) -> Iterator[list[Any]]:
    """Split a list of work, which may be too large for one element."""
    for start in range(0, len(work), sources.CHUNK):
        yield work[start : start + sources.CHUNK]


class _Units(beam.PTransform):
    """Work -> Units. Their size depends on the total number of images."""

    def __init__(self, options: CatalogOptions) -> None:
        super().__init__()
        self._options = options

    def expand(self, work: beam.PCollection) -> Any:
        total = work | "Count" >> beam.Map(len) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        return work | "Cut" >> beam.ParDo(_Cut(self._options), total) | "Spread units" >> beam.Reshuffle()


class _Cut(beam.DoFn):
    """Lists of Work -> Units. What is left of a list becomes a part of the next unit of the bundle."""

    def __init__(self, options: CatalogOptions) -> None:
        self._options = options
        self._cutter: units.Cutter | None = None

    def process(self, work: list[Any], total: int) -> Iterator[Unit]:
        if self._cutter is None:
            size = units.unit_size(total, self._options.unit_size, self._options.workers)
            self._cutter = units.Cutter(size, self._options.settings.day)
        yield from self._cutter.add(work)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        cutter, self._cutter = self._cutter, None
        for unit in cutter.rest() if cutter else ():
            yield GlobalWindows.windowed_value(unit)


class _Report(beam.PTransform):
    """Tallies of all steps -> one call of ``write_report``."""

    def __init__(self, write_report: WriteReport) -> None:
        super().__init__()
        self._write_report = write_report

    def expand(self, tallies: tuple[beam.PCollection, ...]) -> Any:
        return (
            tallies
            | "All counts" >> beam.Flatten()
            | "Sum" >> beam.CombineGlobally(counts.total)
            | "Write" >> beam.Map(self._write_report)
        )
