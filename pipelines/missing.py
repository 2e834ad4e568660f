"""The parts of the graph that find what is missing, and cut it into units.

Work is shuffled as plain tuples in chunks, which Beam encodes fast.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import listing, shards
from pipelines.options import CatalogOptions
from transforms import counts, process_shards, run_state
from transforms.counts import Tally
from transforms.history import subtract, units
from transforms.history.known import History
from transforms.listing import sources
from transforms.records import ImageRef, Unit, Work

TALLY = "tally"  # the tag of the counts


class Missing(beam.PTransform):
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
        chunks = pipeline | "Images" >> listing.List(options.listing(), options.workers, self._ready)
        if sources.may_overlap(options.images):
            chunks = chunks | "Parts" >> listing.Parts(options.history)
        return chunks | "Subtract" >> subtract_.with_outputs(TALLY, main="work")


class _Subtract(beam.DoFn):
    """A chunk of refs -> the work that is missing, in lists, and a tally."""

    def __init__(self, options: CatalogOptions) -> None:
        self._options = options
        self._history: History | None = None

    def process(self, chunk: tuple[list[Any], int]) -> Iterator[Any]:
        refs, ignored = chunk
        self._history = self._history or self._options.history()
        access = self._options.settings.limits.access
        look_up = partial(sources.look_up, access=access) if self._options.check_versions else None
        shard_refs = [ref for ref in refs if subtract.is_shard(ref)]
        images = [ref for ref in refs if not subtract.is_shard(ref)] if shard_refs else refs
        work, tally = subtract.missing([images], self._history.find, self._options.tables, look_up)
        tally[counts.IGNORED] = ignored
        unlisted = Counter({name: count for name, count in tally.items() if name != counts.LISTED})  # List adds those
        if shard_refs:
            to_open, in_shards = subtract.missing_shards(shard_refs, self._history, self._options.tables, look_up)
            work += to_open
            unlisted.update(in_shards)
            tally.update(in_shards)
        counts.publish(unlisted)
        state = run_state.of(self._options.settings.run_id)
        state.live.add(unlisted)
        state.finished.add(tally)
        yield beam.pvalue.TaggedOutput(TALLY, tally)
        yield from _chunks([(tuple(item.ref), item.tables, item.attempt) for item in work])


class Limit(beam.PTransform):
    """Work -> ``work``: the first missing images by URI. Shards are opened in turn until there are enough of them."""

    def __init__(self, limit: int, options: CatalogOptions) -> None:
        super().__init__()
        self._limit = limit
        self._options = options

    def expand(self, work: beam.PCollection) -> Any:
        images = work | "Count" >> beam.Map(_count_images) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        return (
            work
            | "First" >> beam.CombineGlobally(partial(_first, limit=self._limit))
            | "Leave the rest"
            >> beam.FlatMap(_leave_rest, self._limit, images, self._options).with_outputs(TALLY, main="work")
        )


def _count_images(work: list[Any]) -> int:
    return sum(not subtract.is_shard(ref) for ref, _, _ in work)


def _first(parts: Iterable[list[Any]], limit: int) -> list[Any]:
    return heapq.nsmallest(limit, chain.from_iterable(parts))


def _leave_rest(work: list[Any], limit: int, images: int, options: CatalogOptions) -> Iterator[Any]:
    taken: list[Any] = []
    tally: Tally = Counter()
    history: History | None = None
    for ref, tables, attempt in work:
        if len(taken) == limit:
            break
        if not subtract.is_shard(ref):
            taken.append((ref, tables, attempt))
            images -= 1
            continue
        shard = Work(ImageRef._make(ref), tuple(tables), attempt)
        history = history or options.history()
        missing = process_shards.list_missing(shard, limit - len(taken), options.settings, history.find)
        members = [(tuple(item.ref), item.tables, item.attempt) for item in missing]
        taken += members
        in_shard = sum(not subtract.is_shard(member) for member, _, _ in members)
        tally.update({counts.LISTED: in_shard, counts.MISSING: in_shard})
    # "Missing" counted all other images as missing, but none in shards. How many are left in shards is not known.
    tally.update({counts.MISSING: -images, counts.LEFT: images})
    counts.publish(tally)
    state = run_state.of(options.settings.run_id)
    state.live.add(tally)
    state.finished.add(tally)
    yield beam.pvalue.TaggedOutput(TALLY, tally)
    yield from _chunks(taken)


def _chunks(work: list[Any]) -> Iterator[list[Any]]:
    """Split a list of work, which may be too large for one element."""
    for start in range(0, len(work), sources.CHUNK):
        yield work[start : start + sources.CHUNK]


class Units(beam.PTransform):
    """Work -> Units of the images that are files, and ShardTasks of the others.

    The size of the units depends on the total number of these images.
    """

    def __init__(self, options: CatalogOptions) -> None:
        super().__init__()
        self._options = options

    def expand(self, work: beam.PCollection) -> Any:
        images = work | "Files" >> beam.Map(lambda items: [item for item in items if not shards.is_in_shard(item)])
        total = images | "Count" >> beam.Map(len) | "Total" >> beam.CombineGlobally(sum).as_singleton_view()
        units_ = images | "Cut" >> beam.ParDo(_Cut(self._options), total) | "Spread units" >> beam.Reshuffle()
        return (units_, work | "Shards" >> shards.ShardTasks()) | "All" >> beam.Flatten()


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
