"""Listed images and what the tables hold -> missing work.

Both sides are cut into shards by the hash of the URI, and cross the shuffle in chunks and not one by one; in a shard,
two dictionaries do the rest.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from transforms import counts
from transforms.counts import Tally
from transforms.records import ImageRef, Work
from transforms.tables import layout, reader

SHARDS = 1024

_READERS = 16  # files read at once: on gs:// most of it is waiting

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
        uris, versions = _columns(uri, "uri", "version")
        yield from _shard_keys(table, False, zip(uris, versions, strict=True))
        return
    failures = list(zip(*_columns(uri, "uri", "version", "retryable", "tables"), strict=True))
    for wanted in tables:
        lasting = ((key, version) for key, version, passing, lacking in failures if not passing and wanted in lacking)
        yield from _shard_keys(wanted, True, lasting)


def known_in_files(uris: Sequence[str], table: str, tables: Sequence[str]) -> Iterator[tuple[int, Known]]:
    """As ``known_in_file`` for many files, read at once, and their keys put together."""
    together: defaultdict[tuple[int, str, bool], list[Key]] = defaultdict(list)
    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(lambda uri: list(known_in_file(uri, table, tables)), uris):
            for shard, (known_table, failed, keys) in found:
                together[shard, known_table, failed].extend(keys)
    for (shard, known_table, failed), keys in together.items():
        yield shard, Known(known_table, failed, keys)


def _columns(uri: str, *names: str) -> list[list[Any]]:
    part = reader.read(uri, names)
    return [part[name].to_pylist() for name in names]


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

    Of a URI that was listed more than once, the mention with the greatest version counts, whatever their order. A ref
    with a version is known by both; one without by any version of its URI, unless ``look_up`` finds the present one.
    """
    tally: Tally = Counter()
    distinct: dict[str, ImageRef] = {}
    for chunk in refs:
        tally[counts.LISTED] += len(chunk)
        for ref in map(ImageRef._make, chunk):
            before = distinct.get(ref.uri)
            if before is None or (before.version or "") < (ref.version or ""):
                distinct[ref.uri] = ref
    tally[counts.DUPLICATES] = tally[counts.LISTED] - len(distinct)
    if look_up is not None:
        distinct = {ref.uri: ref for ref in look_up(list(distinct.values()))}
    done, failed = _by_table(distinct, known)
    work: list[Work] = []
    for uri, ref in distinct.items():
        lacking = [table for table in tables if uri not in done[table]]
        left = tuple(table for table in lacking if uri not in failed[table])
        if left:
            work.append(Work(ref, left))
        tally[counts.MISSING if left else counts.FAILED_BEFORE if lacking else counts.DONE_BEFORE] += 1
    return sorted(work, key=lambda item: item.ref.uri), tally


def _by_table(
    listed: Mapping[str, ImageRef], known: Iterable[Known]
) -> tuple[defaultdict[str, set[str]], defaultdict[str, set[str]]]:
    """Listed and known images -> by table, the URIs that it holds, and those that failed for good."""
    done: defaultdict[str, set[str]] = defaultdict(set)
    failed: defaultdict[str, set[str]] = defaultdict(set)
    for table, is_failure, keys in known:
        uris = (failed if is_failure else done)[table]
        for uri, version in keys:
            ref = listed.get(uri)
            if ref is not None and (ref.version is None or ref.version == version):
                uris.add(uri)
    return done, failed
