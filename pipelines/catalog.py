"""The Beam graph. It reads image sources, and writes predictions, vectors, failures and a run report.

Read -> Missing -> Units -> Process -> Report. Only refs and sums are shuffled, never bytes, pixels or vectors. They
are shuffled as plain tuples in chunks, which Beam encodes fast.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import apache_beam as beam

from transforms import counts, defaults, run_state
from transforms.counts import Tally
from transforms.errors import UsageError
from transforms.history import subtract, unfinished, units
from transforms.history.subtract import KnownKeys, Retries
from transforms.inference.recipe import Recipe
from transforms.listing import sources
from transforms.process import ProcessUnits, Settings
from transforms.records import Unit
from transforms.tables import layout, reader

WriteReport = Callable[[Tally], None]

_TALLY = "tally"
_FILES = 64  # files of a table in one element; their keys reach a shard as one chunk


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


def build(pipeline: beam.Pipeline, options: CatalogOptions, write_report: WriteReport) -> None:
    """Add the job to a pipeline.

    Args:
        pipeline: The pipeline.
        options: The options of the graph.
        write_report: Called once with the sums of the whole run, after all units.
    """
    listed = pipeline | "Read" >> _Read(options)
    missing = listed.refs | "Missing" >> _Missing(options)
    work, tallies = missing.work, [listed[_TALLY], missing[_TALLY]]
    if options.limit is not None:
        limited = work | "Limit" >> _Limit(options.limit, options.settings.run_id)
        work, tallies = limited.work, [*tallies, limited[_TALLY]]
    units_ = work | "Units" >> _Units(options)
    done = units_ | "Process" >> beam.ParDo(ProcessUnits(options.recipes, options.settings))
    _ = (*tallies, done) | "Report" >> _Report(write_report, options.settings.output)


def count(pipeline: beam.Pipeline, options: CatalogOptions) -> None:
    """Add only the first steps of the job, which count the missing images. Nothing is processed or written."""
    listed = pipeline | "Read" >> _Read(options)
    _ = listed.refs | "Missing" >> _Missing(options)


class _Read(beam.PTransform):
    """Sources -> ``refs``: (shard, chunk of ImageRefs)."""

    def __init__(self, options: CatalogOptions) -> None:
        super().__init__()
        self._options = options

    def expand(self, pipeline: beam.Pipeline) -> Any:
        return (
            pipeline
            | "Sources" >> beam.Create(self._options.images)
            | "Spread sources" >> beam.Reshuffle()
            | "List" >> beam.FlatMap(_list, self._options).with_outputs(_TALLY, main="refs")
        )


def _list(source: str, options: CatalogOptions) -> Iterator[Any]:
    own_files = layout.own_files(options.settings.output)
    for chunk in sources.list_images(source, options.uri_column, own_files):
        listed = Counter({counts.LISTED: len(chunk.refs), counts.IGNORED: chunk.ignored})
        counts.publish(listed)
        run_state.of(options.settings.run_id).live.add(listed)
        yield beam.pvalue.TaggedOutput(_TALLY, Counter({counts.IGNORED: chunk.ignored}))
        for shard, refs in subtract.shard_refs(chunk.refs):
            yield shard, [tuple(ref) for ref in refs]


class _Missing(beam.PTransform):
    """(shard, chunk of ImageRefs) -> ``work``: the images that the tables lack, in lists of Work."""

    def __init__(self, options: CatalogOptions) -> None:
        super().__init__()
        self._options = options

    def expand(self, refs: beam.PCollection) -> Any:
        options = self._options
        known = (
            refs.pipeline
            | "Tables" >> beam.Create([*options.tables, layout.FAILURES])
            | "Spread tables" >> beam.Reshuffle()
            | "Files" >> beam.FlatMap(_files, options.settings.output)
            | "Spread files" >> beam.Reshuffle()
            | "Known" >> beam.FlatMap(_known, options.tables, options.retries)
        )
        return (
            {"refs": refs, "known": known}
            | "By shard" >> beam.CoGroupByKey()
            | "Subtract" >> beam.FlatMap(_subtract, options).with_outputs(_TALLY, main="work")
        )


def _files(table: str, output: str) -> Iterator[tuple[str, list[str]]]:
    uris = reader.parts(layout.folder(output, table))
    while chunk := list(islice(uris, _FILES)):
        yield table, chunk


def _known(part: tuple[str, list[str]], tables: tuple[str, ...], retries: Retries) -> Iterator[tuple[int, Any]]:
    table, uris = part
    for shard, known in subtract.known_in_files(uris, table, tables, retries):
        yield shard, tuple(known)


def _subtract(shard: tuple[int, Any], options: CatalogOptions) -> Iterator[Any]:
    _, sides = shard
    known = (KnownKeys(*fields) for fields in sides["known"])
    look_up = sources.look_up if options.check_versions else None
    work, tally = subtract.missing(sides["refs"], known, options.tables, look_up)
    unlisted = Counter({name: count for name, count in tally.items() if name != counts.LISTED})  # _list adds those
    counts.publish(unlisted)
    state = run_state.of(options.settings.run_id)
    state.live.add(unlisted)
    state.finished.add(tally)
    yield beam.pvalue.TaggedOutput(_TALLY, tally)
    yield from _chunks([(tuple(item.ref), item.tables, item.attempt) for item in work])


class _Limit(beam.PTransform):
    """Work -> ``work``: the first missing images by URI."""

    def __init__(self, limit: int, run_id: str) -> None:
        super().__init__()
        self._limit = limit
        self._run_id = run_id

    def expand(self, work: beam.PCollection) -> Any:
        total = work | "Count" >> beam.Map(len) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        return (
            work
            | "First" >> beam.CombineGlobally(partial(_first, limit=self._limit))
            | "Leave the rest" >> beam.FlatMap(_count_rest, total, self._run_id).with_outputs(_TALLY, main="work")
        )


def _first(parts: Iterable[list[Any]], limit: int) -> list[Any]:
    return heapq.nsmallest(limit, chain.from_iterable(parts))


def _count_rest(work: list[Any], total: int, run_id: str) -> Iterator[Any]:
    rest = total - len(work)
    tally = Counter({counts.MISSING: -rest, counts.LEFT: rest})  # "Missing" counted the rest as missing
    counts.publish(tally)
    state = run_state.of(run_id)
    state.live.add(tally)
    state.finished.add(tally)
    yield beam.pvalue.TaggedOutput(_TALLY, tally)
    yield from _chunks(work)


def _chunks(work: list[Any]) -> Iterator[list[Any]]:
    """Split a list of work, which may be too large for one element."""
    for start in range(0, len(work), sources.CHUNK):
        yield work[start : start + sources.CHUNK]


class _Units(beam.PTransform):
    """Work -> Units. Their number depends on the total number of images."""

    def __init__(self, options: CatalogOptions) -> None:
        super().__init__()
        self._options = options

    def expand(self, work: beam.PCollection) -> Any:
        total = work | "Count" >> beam.Map(len) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        return (
            work
            | "Assign" >> beam.FlatMap(_assign, total, self._options.unit_size, self._options.workers)
            | "Gather" >> beam.GroupByKey()
            | "Make" >> beam.MapTuple(_make)
        )


def _assign(work: list[Any], total: int, unit_size: int, workers: int) -> Iterator[tuple[int, Any]]:
    yield from units.assign(work, units.number_of_units(total, unit_size, workers))


def _make(_number: int, parts: Iterable[Any]) -> Unit:
    return units.make_unit(parts)


class _Report(beam.PTransform):
    """Tallies of all steps -> one call of ``write_report``."""

    def __init__(self, write_report: WriteReport, output: str) -> None:
        super().__init__()
        self._write_report = write_report
        self._output = output

    def expand(self, tallies: tuple[beam.PCollection, ...]) -> Any:
        return (
            tallies
            | "All counts" >> beam.Flatten()
            | "Sum" >> beam.CombineGlobally(counts.total)
            | "Write" >> beam.Map(_finish, self._write_report, self._output)
        )


def _finish(tally: Tally, write_report: WriteReport, output: str) -> None:
    unfinished.clear(output)
    write_report(tally)
