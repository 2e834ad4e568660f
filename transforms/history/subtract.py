"""Subtract the images in the tables from the listed images."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from transforms import counts, member_uris
from transforms.counts import Tally
from transforms.history.known import History, KnownKeys
from transforms.records import ImageRef, Work

Ranges = tuple[list[str], int]  # boundaries between ranges of URIs, and the number of parts of each range
Part = tuple[int, int]  # range, and number in the range
Find = Callable[[Sequence[str]], Iterable[KnownKeys]]  # returns the keys that the tables have of sorted URIs
PlainRef = tuple[Any, ...]  # an ImageRef as it is shuffled

_PART_REFS = 65_536  # about 25 MB
_HELD_REFS = 262_144  # about 60 MB, because refs are plain tuples of short strings


def plan_ranges(boundaries: list[str], refs: int) -> Ranges:
    """Return how to split listed refs into parts of about ``_PART_REFS``, each of which needs one part of the index.

    Args:
        boundaries: URIs between which the index has similar numbers of keys.
        refs: The number of listed refs.
    """
    return boundaries, max(1, refs // (_PART_REFS * (len(boundaries) + 1)))


class Partitioner:
    """Splits a stream of refs into parts, and collects the refs of a part into chunks.

    The part of a URI is the same on every machine. Images of one shard are in the same part, if its range has them all.

    Args:
        ranges: The result of ``plan_ranges``.
        chunk: Maximum number of refs in a chunk.
        held: Maximum number of refs in memory. Beyond it, chunks are yielded before they are full.
    """

    def __init__(self, ranges: Ranges, chunk: int, held: int = _HELD_REFS) -> None:
        self._boundaries, self._salts = ranges
        self._chunk, self._most = chunk, held
        self._parts: defaultdict[Part, list[PlainRef]] = defaultdict(list)
        self._held = 0

    def add(self, refs: Iterable[PlainRef]) -> Iterator[tuple[Part, list[PlainRef]]]:
        """Take some refs, and yield the chunks that are full, each with its part."""
        for ref in refs:
            key = member_uris.to_key(ref[0])
            salt = zlib.crc32(member_uris.file_of(ref[0]).encode()) % self._salts  # the same for images of one shard
            part = bisect_right(self._boundaries, key), salt
            held = self._parts[part]
            held.append(ref)
            self._held += 1
            if len(held) == self._chunk:
                self._held -= len(held)
                yield part, self._parts.pop(part)
            elif self._held == self._most:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[Part, list[PlainRef]]]:
        """Yield chunks of what is left, each with its part."""
        parts, self._parts, self._held = self._parts, defaultdict(list), 0
        yield from parts.items()


def missing(
    refs: Iterable[Sequence[PlainRef]],
    find: Find,
    tables: Sequence[str],
    look_up: Callable[[list[ImageRef]], list[ImageRef]] | None = None,
) -> tuple[list[Work], Tally]:
    """Find the missing images among listed ones.

    If a URI is listed more than once, the ref with the greatest version is used. A ref with a version matches keys
    with the same URI and version. A ref without a version matches any version of its URI.

    Args:
        refs: Chunks of listed images.
        find: Returns the keys that the tables have of sorted URIs.
        tables: The tables that this run writes.
        look_up: Fills in the current versions of refs that have none.

    Returns:
        The work, sorted by URI, and the counts of all listed images.
    """
    tally: Tally = Counter()
    distinct: dict[str, Sequence[Any]] = {}  # plain tuples as they are listed, because most of them are done
    for chunk in refs:
        tally[counts.LISTED] += len(chunk)
        for ref in chunk:
            before = distinct.setdefault(ref[0], ref)
            if before is not ref and _precedes(ImageRef._make(before), ImageRef._make(ref)):
                distinct[ref[0]] = ref
    tally[counts.DUPLICATES] = tally[counts.LISTED] - len(distinct)
    if look_up is not None:
        distinct = {ref.uri: ref for ref in look_up(list(map(ImageRef._make, distinct.values())))}
    done, failed, attempts = _by_table(distinct, find(sorted(distinct)))
    lacking = distinct.keys() - set.intersection(*(done[table] for table in tables))
    tally[counts.DONE_BEFORE] = len(distinct) - len(lacking)
    work: list[Work] = []
    for uri in lacking:
        to_do = tuple(table for table in tables if uri not in done[table] and uri not in failed[table])
        if to_do:
            attempt = 1 + max(attempts[table].get(uri, 0) for table in to_do)
            work.append(Work(ImageRef._make(distinct[uri]), to_do, attempt))
    tally[counts.MISSING], tally[counts.FAILED_BEFORE] = len(work), len(lacking) - len(work)
    return sorted(work, key=lambda item: item.ref.uri), tally


def missing_shards(
    refs: Sequence[PlainRef],
    history: History,
    tables: Sequence[str],
    look_up: Callable[[list[ImageRef]], list[ImageRef]] | None = None,
) -> tuple[list[Work], Tally]:
    """Find the shards that may have missing images, see ``missing``.

    Returns:
        The shards to open, and the counts of all shards and of the images in the others.
    """
    work, listed = missing([refs], history.find, tables, look_up)
    to_open = {item.ref.uri for item in work}
    others = {ref[0]: ImageRef._make(ref) for ref in refs if ref[0] not in to_open}
    tally = history.count_images(list(others.values()))
    tally.update({counts.SHARDS: len(work) + len(others), counts.SHARDS_DONE: len(others)})
    tally[counts.DUPLICATES] = listed[counts.DUPLICATES]
    return work, tally


def is_shard(ref: PlainRef) -> bool:
    """Return whether a ref is a shard, and not an image."""
    return member_uris.kind(ref[0]) is not None and ImageRef._make(ref).fault is None


def newest(refs: Iterable[ImageRef]) -> ImageRef:
    """Return the ref with the greatest version among refs of one URI."""
    best, *others = refs
    for ref in others:
        if _precedes(best, ref):
            best = ref
    return best


def _precedes(before: ImageRef, ref: ImageRef) -> bool:
    """Return whether ``ref`` has a newer version, or the same version for an earlier day."""
    old, new = before.version or "", ref.version or ""
    return old < new or (old == new and (ref.day or "") < (before.day or ""))


def _by_table(
    listed: Mapping[str, Sequence[Any]], known: Iterable[KnownKeys]
) -> tuple[defaultdict[str, set[str]], defaultdict[str, set[str]], defaultdict[str, dict[str, int]]]:
    """Return three values by table: URIs in it, URIs that failed permanently, and failed attempts of the others."""
    versions = {uri: ref[1] for uri, ref in listed.items()}
    done: defaultdict[str, set[str]] = defaultdict(set)
    failed: defaultdict[str, set[str]] = defaultdict(set)
    attempts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for table, is_failure, keys, key_attempts in known:
        # URIs that are not listed may be added too, which makes no difference.
        if key_attempts is None:
            uris = (failed if is_failure else done)[table]
            uris.update(uri for uri, version in keys if versions.get(uri) in (None, version))
            continue
        for (uri, version), attempt in zip(keys, key_attempts, strict=True):
            if versions.get(uri) in (None, version):
                attempts[table][uri] = max(attempt, attempts[table].get(uri, 0))
    return done, failed, attempts
