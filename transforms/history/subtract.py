"""Listed images and what the tables hold -> missing work.

Both sides are cut into shards by the hash of the URI, and cross the shuffle in chunks and not one by one; in a shard,
two dictionaries do the rest.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from transforms import counts, defaults
from transforms.counts import Tally
from transforms.records import ImageRef, Work
from transforms.tables import layout, reader

SHARDS = 1024

_READERS = 16  # files read at once: on gs:// most of it is waiting

Key = tuple[str, str | None]  # URI and version


class Retries(NamedTuple):
    """Which failures are tried again: passing ones until so many attempts have failed, or all."""

    max_attempts: int = defaults.MAX_ATTEMPTS
    retry_failed: bool = False

    def tries(self, retryable: bool, attempt: int) -> bool:
        """Whether an image is tried again after a failure, its ``attempt``-th."""
        return self.retry_failed or (retryable and attempt < self.max_attempts)


class KnownKeys(NamedTuple):
    """What a file of a table says of one shard: images that ``table`` holds, or else those that ``failed``.

    attempts: how often each of the keys has failed, where they are to be tried again; None where it is for good.
    """

    table: str
    failed: bool
    keys: list[Key]
    attempts: list[int] | None = None


def shard_of(uri: str) -> int:
    """The same on every machine and in every run."""
    return zlib.crc32(uri.encode()) % SHARDS


def shard_refs(refs: Iterable[ImageRef]) -> Iterator[tuple[int, list[ImageRef]]]:
    """A chunk of listed images -> (shard, its refs)."""
    shards: defaultdict[int, list[ImageRef]] = defaultdict(list)
    for ref in refs:
        shards[shard_of(ref.uri)].append(ref)
    yield from shards.items()


def known_in_file(uri: str, table: str, tables: Sequence[str], retries: Retries) -> Iterator[tuple[int, KnownKeys]]:
    """A file of ``table`` (of ``tables``, or the failures) -> (shard, what it knows of it)."""
    if table == layout.FAILURES:
        yield from _known_failures(uri, tables, retries)
        return
    part = reader.read(uri, ("uri", "version"))
    shards: defaultdict[int, list[Key]] = defaultdict(list)
    for key in zip(part["uri"].to_pylist(), part["version"].to_pylist(), strict=True):
        shards[shard_of(key[0])].append(key)
    for shard, members in shards.items():
        yield shard, KnownKeys(table, False, members)


def known_in_files(
    uris: Sequence[str], table: str, tables: Sequence[str], retries: Retries
) -> Iterator[tuple[int, KnownKeys]]:
    """As ``known_in_file`` for many files, read at once, and their keys put together."""
    together: dict[tuple[int, str, bool], KnownKeys] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(lambda uri: list(known_in_file(uri, table, tables, retries)), uris):
            for shard, known in found:
                before = together.setdefault((shard, known.table, known.attempts is None), known)
                if before is not known:
                    before.keys.extend(known.keys)
                    if before.attempts is not None and known.attempts is not None:
                        before.attempts.extend(known.attempts)
    for (shard, _, _), known in together.items():
        yield shard, known


def _known_failures(uri: str, tables: Sequence[str], retries: Retries) -> Iterator[tuple[int, KnownKeys]]:
    part = reader.read(uri, ("uri", "version", "retryable", "tables"), younger=("attempt",))
    columns = [part.column(i).to_pylist() for i in range(part.num_columns)]
    if len(columns) == 4:
        columns.append([1] * part.num_rows)  # attempts were not counted at first
    found: dict[tuple[int, str, bool], KnownKeys] = {}
    for uri_, version, retryable, lacking, attempt in zip(*columns, strict=True):
        shard, again = shard_of(uri_), retries.tries(retryable, attempt)
        for table in lacking:
            if table in tables:
                known = found.get((shard, table, again))
                if known is None:
                    known = found[shard, table, again] = KnownKeys(table, True, [], [] if again else None)
                known.keys.append((uri_, version))
                if known.attempts is not None:
                    known.attempts.append(attempt)
    for (shard, _, _), known in found.items():
        yield shard, known


def missing(
    refs: Iterable[Sequence[ImageRef]],
    known: Iterable[KnownKeys],
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
    done, failed, tried = _by_table(distinct, known)
    work: list[Work] = []
    for uri, ref in distinct.items():
        lacking = [table for table in tables if uri not in done[table]]
        left = tuple(table for table in lacking if uri not in failed[table])
        if left:
            work.append(Work(ref, left, 1 + max(tried[table].get(uri, 0) for table in left)))
        tally[counts.MISSING if left else counts.FAILED_BEFORE if lacking else counts.DONE_BEFORE] += 1
    return sorted(work, key=lambda item: item.ref.uri), tally


def _by_table(
    listed: Mapping[str, ImageRef], known: Iterable[KnownKeys]
) -> tuple[defaultdict[str, set[str]], defaultdict[str, set[str]], defaultdict[str, dict[str, int]]]:
    """Listed and known images -> by table, the URIs that it holds, that failed for good, that failed so many times."""
    done: defaultdict[str, set[str]] = defaultdict(set)
    failed: defaultdict[str, set[str]] = defaultdict(set)
    tried: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for table, is_failure, keys, attempts in known:
        if attempts is not None:
            for (uri, version), attempt in zip(keys, attempts, strict=True):
                ref = listed.get(uri)
                if ref is not None and (ref.version is None or ref.version == version):
                    tried[table][uri] = max(attempt, tried[table].get(uri, 0))
            continue
        uris = (failed if is_failure else done)[table]
        for uri, version in keys:
            ref = listed.get(uri)
            if ref is not None and (ref.version is None or ref.version == version):
                uris.add(uri)
    return done, failed, tried
