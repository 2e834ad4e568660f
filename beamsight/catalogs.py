"""The PTransform that writes the tables of the command from your own pipeline.

This module has no ``from __future__ import annotations``, because Beam reads the types of ``CatalogCounts`` early.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam

from beamsight.reports import run_report
from beamsight.text import nearest
from pipelines import catalog
from runners.jobs import resolve
from runners.jobs.options import NO_MODEL, RunOptions
from transforms import counts
from transforms.counts import Tally
from transforms.errors import UsageError
from transforms.inference import engines

# Criteria for the exit code of a command, and what a command does at its end.
_OF_THE_COMMAND = {"night", "on_finish", "max_failures", "expect_at_least"}


class CatalogCounts(NamedTuple):
    """What a ``Catalog`` did, in numbers of images unless said otherwise.

    Attributes:
        run_id: The id of the run. Its report is ``runs/<run_id>.json`` in the output.
        listed: Images in the sources.
        duplicates: Images that were listed more than once.
        done_before: Images that were in all tables already.
        failed_before: Images that failed permanently in earlier runs.
        left: Missing images beyond ``limit``.
        images: Images that this run processed, with or without a failure.
        failed: Images that failed.
        retryable: Failed images that the next run tries again.
        files_published: Files that were added to the tables.
        rows_published: Rows in these files.
    """

    run_id: str
    listed: int
    duplicates: int
    done_before: int
    failed_before: int
    left: int
    images: int
    failed: int
    retryable: int
    files_published: int
    rows_published: int


beam.coders.registry.register_coder(CatalogCounts, beam.coders.RowCoder)


class Catalog(beam.PTransform):
    """Does what ``beamsight run`` does, as one step of your pipeline: processes what is missing, and writes the tables.

    It is applied to a pipeline. The result is a PCollection with one element, a ``CatalogCounts``, which exists after
    the tables are written. The run report is written too.

    One job at a time may write to an output. The command holds a lock for it, and this transform takes no lock: do not
    run it while another job with the same output runs, or its rows may be published twice. Let your scheduler start one
    job at a time, or use ``beamsight run``. ``beamsight tables OUTPUT --check`` finds rows that were published twice.
    Two catalogs with different outputs can be in one pipeline.

    An image that ends the process that decodes it becomes a failure in the next run.

    Args:
        images: The sources of the images, as for ``ListImages``.
        output: Folder of the tables, on a disk or gs://.
        classifier: The model that classifies, as for ``ProcessImages``. None for no predictions.
        embedder: The model that makes the vectors. None for no embeddings.
        options: Other options of ``beamsight run``, by name: ``precision``, ``top_k``, ``limit``, ``retry_failed`` and
            so on. ``docs/options.md`` has all of them.

    Raises:
        UsageError: A source has no images, the output cannot be a folder, or an option does not exist.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     done = pipeline | beamsight.Catalog(photo, f"{output}/catalog", classifier=classifier, embedder=None)
        ...     _ = done | beam.Map(lambda counts: print(counts.images, counts.failed, counts.rows_published))
        1 0 1
    """

    def __init__(
        self,
        images: str | Sequence[str],
        output: str,
        *,
        classifier: str | None = "efficientnet-b7",
        embedder: str | None = "efficientnet-b6",
        **options: Any,
    ) -> None:
        super().__init__()
        known = {field.name for field in dataclasses.fields(RunOptions)} - _OF_THE_COMMAND
        for name in options.keys() - known:
            raise UsageError(f"Catalog has no option {name!r}{nearest(name, known)}; docs/options.md has all of them")
        self._options = RunOptions(
            images=(images,) if isinstance(images, str) else tuple(images),
            output=output,
            classifier=classifier or NO_MODEL,
            embedder=embedder or NO_MODEL,
            **options,
        )

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        options = pipeline.pipeline.options
        resolve.require_visible(self._options, options)
        resolve.require_output(self._options)
        resolve.require_images(self._options)
        job, run = resolve.resolve(self._options, options, gpu=engines.has_gpu())
        tally = pipeline | "Catalog" >> catalog.Catalog(job, partial(run_report.write, run=run))
        return tally | "Counts" >> beam.Map(_count, run.run_id).with_output_types(CatalogCounts)


def _count(tally: Tally, run_id: str) -> CatalogCounts:
    return CatalogCounts(
        run_id=run_id,
        listed=tally[counts.LISTED],
        duplicates=tally[counts.DUPLICATES],
        done_before=tally[counts.DONE_BEFORE],
        failed_before=tally[counts.FAILED_BEFORE],
        left=tally[counts.LEFT],
        images=tally[counts.IMAGES],
        failed=sum(counts.family(tally, counts.FAILED).values()),
        retryable=tally[counts.TRANSIENT],
        files_published=tally[counts.PUBLISHED],
        rows_published=tally[counts.PUBLISHED_ROWS],
    )
