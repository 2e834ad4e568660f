"""Listed images and what the tables hold -> missing work.

Both sides are cut into shards by the hash of the URI, in chunks and not one by one, so that a million URIs cross the
shuffle as some ten thousand elements; in a shard, two dictionaries do the rest.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from transforms import counts
from transforms.counts import Tally
from transforms.records import ImageRef, Work
from transforms.tables import layout, reader

SHARDS = 1024

Key = tuple[str, str | None]  # URI and version


class Known(NamedTuple):
    """What a file of a table says of one shard: images that ``table`` holds, or for good reasons never will."""

    table: str
    failed: bool
    keys: list[Key]


def shard_of(uri: str) -> int:
    """The same on every machine and in every run."""
    return zlib.crc32(uri.encode()) % SHARDS


def shard_refs(refs: Iterable[ImageRef]) -> Iterator[tuple[int, list[ImageRef]]]:
    """A chunk of listed images -> (shard, its refs)."""
    shards: defaultdict[int, list[ImageRef]] = defaultdict(list)
    for ref in refs:
        shards[shard_of(ref.uri)].append(ref)
    yield from shards.items()


def known_in_file(uri: str, table: str, tables: Sequence[str]) -> Iterator[tuple[int, Known]]:
    """A file of ``table`` (of ``tables``, or the failures) -> (shard, what it knows of it)."""
    if table != layout.FAILURES:
        columns = reader.read(uri, ["uri", "version"])
        yield from _shard_keys(table, False, zip(*(column.to_pylist() for column in columns.columns), strict=True))
        return
    failures = reader.read(uri, ["uri", "version", "retryable", "tables"]).to_pylist()
    for wanted in tables:
        lasting = (row for row in failures if not row["retryable"] and wanted in row["tables"])
        yield from _shard_keys(wanted, True, ((row["uri"], row["version"]) for row in lasting))


def _shard_keys(table: str, failed: bool, keys: Iterable[Key]) -> Iterator[tuple[int, Known]]:
    shards: defaultdict[int, list[Key]] = defaultdict(list)
    for key in keys:
        shards[shard_of(key[0])].append(key)
    for shard, members in shards.items():
        yield shard, Known(table, failed, members)


def missing(
    refs: Iterable[Sequence[ImageRef]],
    known: Iterable[Known],
    tables: Sequence[str],
    look_up: Callable[[list[ImageRef]], list[ImageRef]] | None = None,
) -> tuple[list[Work], Tally]:
    """All of one shard -> what is to be done, by URI, and how the rest is accounted for.

    Of a URI that was listed more than once, the mention with a version counts. A ref with a version is known by both;
    one without by any version of its URI, unless ``look_up`` finds the present version out.
    """
    tally: Tally = Counter()
    distinct: dict[str, ImageRef] = {}
    for chunk in refs:
        for ref in map(ImageRef._make, chunk):
            tally[counts.LISTED] += 1
            before = distinct.get(ref.uri)
            if before is not None:
                tally[counts.DUPLICATES] += 1
            if before is None or before.version is None:
                distinct[ref.uri] = ref
    if look_up is not None:
        distinct = {ref.uri: ref for ref in look_up(list(distinct.values()))}
    done, failed = _by_table(known)
    work: list[Work] = []
    for ref in sorted(distinct.values()):
        key = ref.uri if ref.version is None else (ref.uri, ref.version)
        lacking = [table for table in tables if key not in done[table]]
        left = tuple(table for table in lacking if key not in failed[table])
        if left:
            work.append(Work(ref, left))
        tally[counts.MISSING if left else counts.FAILED_BEFORE if lacking else counts.DONE_BEFORE] += 1
    return work, tally


def _by_table(known: Iterable[Known]) -> tuple[defaultdict[str, set[object]], defaultdict[str, set[object]]]:
    """Known images -> by table, those it holds and those that failed for good: each as URI, and as (URI, version)."""
    done: defaultdict[str, set[object]] = defaultdict(set)
    failed: defaultdict[str, set[object]] = defaultdict(set)
    for table, is_failure, keys in known:
        target = (failed if is_failure else done)[table]
        for uri, version in keys:
            target.add(uri)
            target.add((uri, version))
    return done, failed
