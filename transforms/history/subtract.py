"""Subtract the images in the tables from the listed images.

Both sides are split into shards by the hash of the URI, and are shuffled in chunks. Within a shard, dictionaries
compare them.
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

_READERS = 16  # concurrent reads: on gs:// most of a read is waiting

Key = tuple[str, str | None]  # URI and version


class Retries(NamedTuple):
    """Which failures are retried.

    Attributes:
        max_attempts: A transient failure is retried until this many attempts have failed.
        retry_failed: Retry all failures, also permanent ones.
    """

    max_attempts: int = defaults.MAX_ATTEMPTS
    retry_failed: bool = False

    def tries(self, retryable: bool, attempt: int) -> bool:
        """Return whether an image is retried after its failure number ``attempt``."""
        return self.retry_failed or (retryable and attempt < self.max_attempts)


class KnownKeys(NamedTuple):
    """The keys of one shard that are in a file of a table.

    Attributes:
        table: The table that has the images, or lacks them because they failed.
        failed: Whether the images failed.
        keys: URIs and versions of the images.
        attempts: The number of failed attempts for each key if the failures are retried. None for images that did not
            fail or failed permanently.
    """

    table: str
    failed: bool
    keys: list[Key]
    attempts: list[int] | None = None


def shard_of(uri: str) -> int:
    """Return the shard of a URI. It is the same on every machine and in every run."""
    return zlib.crc32(uri.encode()) % SHARDS


def shard_refs(refs: Iterable[ImageRef]) -> Iterator[tuple[int, list[ImageRef]]]:
    """Split a chunk of listed images into shards. Yield each shard with its refs."""
    shards: defaultdict[int, list[ImageRef]] = defaultdict(list)
    for ref in refs:
        shards[shard_of(ref.uri)].append(ref)
    yield from shards.items()


def known_in_file(uri: str, table: str, tables: Sequence[str], retries: Retries) -> Iterator[tuple[int, KnownKeys]]:
    """Read the keys in a file of a table. Yield them by shard.

    Args:
        uri: The file.
        table: The table of the file: one of ``tables``, or the failures table.
        tables: The tables that this run writes. Failures in other tables are ignored.
        retries: Which failures are retried.
    """
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
    """Read many files concurrently as ``known_in_file`` does, and merge their keys."""
    merged: dict[tuple[int, str, bool], KnownKeys] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for file_keys in pool.map(lambda uri: list(known_in_file(uri, table, tables, retries)), uris):
            for shard, known in file_keys:
                before = merged.setdefault((shard, known.table, known.attempts is None), known)
                if before is not known:
                    before.keys.extend(known.keys)
                    if before.attempts is not None and known.attempts is not None:
                        before.attempts.extend(known.attempts)
    for (shard, _, _), known in merged.items():
        yield shard, known


def _known_failures(uri: str, tables: Sequence[str], retries: Retries) -> Iterator[tuple[int, KnownKeys]]:
    part = reader.read(uri, ("uri", "version", "retryable", "tables"), younger=("attempt",))
    columns = [part.column(i).to_pylist() for i in range(part.num_columns)]
    if len(columns) == 4:
        columns.append([1] * part.num_rows)  # early versions of the table have no attempts
    by_shard: dict[tuple[int, str, bool], KnownKeys] = {}
    for uri_, version, retryable, lacking, attempt in zip(*columns, strict=True):
        shard, retry = shard_of(uri_), retries.tries(retryable, attempt)
        for table in lacking:
            if table in tables:
                known = by_shard.get((shard, table, retry))
                if known is None:
                    known = by_shard[shard, table, retry] = KnownKeys(table, True, [], [] if retry else None)
                known.keys.append((uri_, version))
                if known.attempts is not None:
                    known.attempts.append(attempt)
    for (shard, _, _), known in by_shard.items():
        yield shard, known


def missing(
    refs: Iterable[Sequence[ImageRef]],
    known: Iterable[KnownKeys],
    tables: Sequence[str],
    look_up: Callable[[list[ImageRef]], list[ImageRef]] | None = None,
) -> tuple[list[Work], Tally]:
    """Find the missing images of one shard.

    If a URI is listed more than once, the ref with the greatest version is used. A ref with a version matches keys
    with the same URI and version. A ref without a version matches any version of its URI.

    Args:
        refs: Chunks of listed images.
        known: The keys in the tables.
        tables: The tables that this run writes.
        look_up: Fills in the current versions of refs that have none.

    Returns:
        The work, sorted by URI, and the counts of all listed images.
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
    done, failed, attempts = _by_table(distinct, known)
    work: list[Work] = []
    for uri, ref in distinct.items():
        lacking = [table for table in tables if uri not in done[table]]
        to_do = tuple(table for table in lacking if uri not in failed[table])
        if to_do:
            work.append(Work(ref, to_do, 1 + max(attempts[table].get(uri, 0) for table in to_do)))
        tally[counts.MISSING if to_do else counts.FAILED_BEFORE if lacking else counts.DONE_BEFORE] += 1
    return sorted(work, key=lambda item: item.ref.uri), tally


def _by_table(
    listed: Mapping[str, ImageRef], known: Iterable[KnownKeys]
) -> tuple[defaultdict[str, set[str]], defaultdict[str, set[str]], defaultdict[str, dict[str, int]]]:
    """Return three values by table: URIs in it, URIs that failed permanently, and failed attempts of the others."""
    done: defaultdict[str, set[str]] = defaultdict(set)
    failed: defaultdict[str, set[str]] = defaultdict(set)
    attempts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for table, is_failure, keys, key_attempts in known:
        if key_attempts is not None:
            for (uri, version), attempt in zip(keys, key_attempts, strict=True):
                ref = listed.get(uri)
                if ref is not None and (ref.version is None or ref.version == version):
                    attempts[table][uri] = max(attempt, attempts[table].get(uri, 0))
            continue
        uris = (failed if is_failure else done)[table]
        for uri, version in keys:
            ref = listed.get(uri)
            if ref is not None and (ref.version is None or ref.version == version):
                uris.add(uri)
    return done, failed, attempts
