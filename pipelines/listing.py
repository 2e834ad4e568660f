"""The first steps of the graph: sources -> chunks of refs, listed by many workers.

A chunk is a list of refs as plain tuples, and the number of other files in their folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms import counts, defaults, run_state
from transforms.history import subtract
from transforms.history.known import History
from transforms.listing import ranges, sources
from transforms.records import ImageRef
from transforms.storage.base import KeyRange

Chunk = tuple[list[Any], int]

_RANGES = 8  # of a large source for each worker, so that all workers list until the end
_MOST_RANGES = 1_024


@dataclass(frozen=True, slots=True)
class Listing:
    """What to list.

    Attributes:
        images: The sources of the images, see ``sources.list_images``.
        run_id: The id of the run that counts the images.
        uri_column: The column of a manifest that has the URIs.
        image_column: The column of Parquet files with the bytes of images. None for the only such column.
        leave_out: Files, and folders with a slash at the end, that are not images.
        days: The logical days of sources that are not for the day of the run.
    """

    images: tuple[str, ...]
    run_id: str
    uri_column: str = defaults.URI_COLUMN
    image_column: str | None = None
    leave_out: tuple[str, ...] = ()
    days: Mapping[str, str] = field(default_factory=dict)


class List(beam.PTransform):
    """Sources -> chunks. A large source on gs:// or s3:// is listed by many workers, each range of its keys by itself.

    A range is an element after a shuffle. So a worker that fails repeats its ranges, and not the whole source.

    Args:
        listing: What to list.
        workers: Number of concurrent workers. A single one lists each source as a whole.
        ready: Side inputs that must exist before anything is listed.
    """

    def __init__(self, listing: Listing, workers: int = 1, ready: Sequence[Any] = ()) -> None:
        super().__init__()
        self._listing = listing
        self._ranges = min(_RANGES * workers, _MOST_RANGES) if workers > 1 else 1
        self._ready = ready

    def expand(self, pipeline: beam.Pipeline) -> Any:
        return (
            pipeline
            | "Sources" >> beam.Create(self._listing.images)
            | "Spread sources" >> beam.Reshuffle()
            | "Ranges" >> beam.FlatMap(_split, self._ranges)
            | "Spread ranges" >> beam.Reshuffle()
            | "List" >> beam.FlatMap(_list, self._listing, *self._ready)
        )


def _split(source: str, wanted: int) -> Iterator[Any]:
    for start, end in ranges.split(source, wanted):
        yield source, start, end


def _list(part: tuple[Any, ...], listing: Listing, _ready: Any = None) -> Iterator[Chunk]:
    source, start, end = part
    day = listing.days.get(source)
    chunks = sources.list_images(
        source, listing.uri_column, listing.leave_out, keys=KeyRange(start, end), image_column=listing.image_column
    )
    for chunk in chunks:
        listed = Counter({counts.LISTED: sum(not subtract.is_shard(ref) for ref in chunk.refs)})
        counts.publish(listed)
        run_state.of(listing.run_id).live.add(listed)
        yield [(*ref[:-1], day) for ref in chunk.refs], chunk.ignored


class Refs(beam.PTransform):
    """Sources -> ImageRefs, each URI once. Refs are shuffled only if two sources may name the same image.

    Args:
        listing: What to list.
        workers: Number of concurrent workers.
    """

    def __init__(self, listing: Listing, workers: int = 1) -> None:
        super().__init__()
        self._listing = listing
        self._workers = workers

    def expand(self, pipeline: beam.Pipeline) -> Any:
        refs = (
            pipeline | "Chunks" >> List(self._listing, self._workers) | "Refs" >> beam.FlatMap(lambda chunk: chunk[0])
        )
        if sources.may_overlap(self._listing.images):
            refs = (
                refs
                | "By URI" >> beam.WithKeys(lambda ref: ref[0])
                | "Together" >> beam.GroupByKey()
                | "Newest" >> beam.MapTuple(lambda _, same: subtract.newest(map(ImageRef._make, same)))
            )
        return refs | "Typed" >> beam.Map(ImageRef._make).with_output_types(ImageRef)


class Parts(beam.PTransform):
    """Chunks -> one chunk for each part, which has all refs of a URI. Its keys are in one part of the key index.

    Args:
        history: Returns what the tables have already.
    """

    def __init__(self, history: Callable[[], History]) -> None:
        super().__init__()
        self._history = history

    def expand(self, chunks: beam.PCollection) -> Any:
        total = chunks | "Count" >> beam.Map(lambda chunk: len(chunk[0])) | "Total" >> beam.CombineGlobally(sum)
        return (
            chunks
            | "Part" >> beam.ParDo(_Part(self._history), beam.pvalue.AsSingleton(total))
            | "By part" >> beam.GroupByKey()
            | "Together" >> beam.MapTuple(_together)
        )


class _Part(beam.DoFn):
    """Chunks -> chunks of one part each. Refs of a bundle are collected, so that these chunks are large too."""

    def __init__(self, history: Callable[[], History]) -> None:
        self._history = history
        self._plan: subtract.Ranges | None = None  # the same for all bundles
        self._partitioner: subtract.Partitioner | None = None
        self._ignored = 0

    def process(self, chunk: Chunk, total: int) -> Iterator[Any]:
        refs, ignored = chunk
        if self._partitioner is None:
            self._plan = self._plan or subtract.plan_ranges(self._history().boundaries(), total)
            self._partitioner = subtract.Partitioner(self._plan, sources.CHUNK)
            self._ignored = 0
        self._ignored += ignored
        for part, chunk_ in self._partitioner.add(refs):
            yield part, (chunk_, 0)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        partitioner, self._partitioner = self._partitioner, None
        if partitioner is None:
            return
        for part, chunk in partitioner.rest():
            yield GlobalWindows.windowed_value((part, (chunk, 0)))
        if self._ignored:
            yield GlobalWindows.windowed_value(((0, 0), ([], self._ignored)))


def _together(_: Any, chunks: Iterable[Chunk]) -> Chunk:
    held = list(chunks)
    return [ref for refs, _ in held for ref in refs], sum(ignored for _, ignored in held)
