"""The part of the graph that groups missing work in shards into tasks, each for one worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import apache_beam as beam

from transforms import member_uris
from transforms.history import subtract
from transforms.records import ImageRef, ShardTask, Work

_SMALL = 64 << 20  # bytes: smaller shards share a task, so that models get full batches
_MOST = 1_000  # shards in a task


def is_in_shard(work: Any) -> bool:
    """Return whether a plain Work is a shard, or an image in a shard."""
    return subtract.is_shard(work[0]) or _is_member(work)


def _is_member(work: Any) -> bool:
    return work[0][3] is None and member_uris.split(work[0][0]) is not None


class ShardTasks(beam.PTransform):
    """Work -> ShardTasks: of the shards, and of the images in shards that manifests name."""

    def expand(self, work: beam.PCollection) -> Any:
        shards = (
            work
            | "Shards" >> beam.Map(lambda items: [item for item in items if subtract.is_shard(item[0])])
            | "All shards" >> beam.CombineGlobally(_join)
            | "Group" >> beam.FlatMap(_group)
        )
        members = (
            work
            | "Members" >> beam.FlatMap(_members)
            | "By shard" >> beam.GroupByKey()
            | "Together" >> beam.MapTuple(_task)
        )
        return (shards, members) | "Tasks" >> beam.Flatten() | "Spread tasks" >> beam.Reshuffle()


def _join(parts: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def _group(shards: list[Any]) -> Iterator[ShardTask]:
    yield from group(map(_work, shards))


def group(shards: Iterable[Work]) -> Iterator[ShardTask]:
    """Group shards into tasks, the largest first. Small shards of one day share a task."""
    small: dict[str | None, list[Work]] = {}
    for shard in sorted(shards, key=lambda shard: (-(shard.ref.size or _SMALL), shard.ref.uri)):
        if (shard.ref.size or _SMALL) >= _SMALL:
            yield ShardTask((shard,))
            continue
        held = small.setdefault(shard.ref.day, [])
        if held and (len(held) == _MOST or sum(each.ref.size or 0 for each in held) + (shard.ref.size or 0) > _SMALL):
            yield ShardTask(tuple(held))
            held.clear()
        held.append(shard)
    yield from (ShardTask(tuple(held)) for held in small.values())


def _members(work: list[Any]) -> Iterator[tuple[str, Any]]:
    for item in work:
        if _is_member(item):
            yield member_uris.file_of(item[0][0]), item


def _task(shard: str, members: Iterable[Any]) -> ShardTask:
    works = tuple(sorted(map(_work, members)))
    tables = tuple(sorted({table for work in works for table in work.tables}))
    first = works[0].ref
    return ShardTask((Work(ImageRef(shard, first.version, day=first.day), tables),), works)


def _work(plain: Any) -> Work:
    ref, tables, attempt = plain
    return Work(ImageRef._make(ref), tuple(tables), attempt)
