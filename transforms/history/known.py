"""The keys of the tables that a run writes, from their key indexes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from transforms import counts, defaults, member_uris
from transforms.counts import Tally
from transforms.records import ImageRef
from transforms.tables import key_index, layout
from transforms.tables.key_index import KeyIndex

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
    """Keys in the index of a table.

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


class History:
    """What the tables of a run have already.

    Args:
        places: The folders with key indexes of each table that the run writes, of its shards, and of the failures.
            They add up.
        tables: The tables that the run writes. Failures in other tables are ignored.
        retries: Which failures are retried.
    """

    def __init__(self, places: Mapping[str, Sequence[str]], tables: Sequence[str], retries: Retries) -> None:
        self._tables = frozenset(tables)
        self._retries = retries
        self._done = [KeyIndex(place, table) for table in tables for place in places[table]]
        self._shards = [
            (table, KeyIndex(place, shards))
            for table, shards in zip(tables, map(layout.shards_of, tables), strict=True)
            for place in places.get(shards, ())
        ]
        self._failed = [KeyIndex(place, layout.FAILURES) for place in places[layout.FAILURES]]

    def boundaries(self) -> list[str]:
        """Return URIs that split all URIs into ranges with similar numbers of keys in each."""
        return sorted({first for index in self._done for first in index.boundaries()})

    def find(self, uris: Sequence[str]) -> Iterator[KnownKeys]:
        """Yield the keys of some URIs, which must be sorted."""
        for index in self._done:
            found = index.find(uris)
            if found.num_rows:
                keys = zip(*(found[name].to_numpy().tolist() for name in ("uri", "version")), strict=True)
                yield KnownKeys(index.table, False, list(keys))
        for index in self._failed:
            yield from self._failures(index, uris)
        for table, index in self._shards:
            if index.files:
                yield from self._read_shards(table, index, [uri for uri in uris if member_uris.kind(uri)])

    def count_images(self, shards: Sequence[ImageRef]) -> Tally:
        """Return the counts of the images in shards that were read to their ends, or failed as a whole."""
        found: dict[Key, tuple[int, int, bool]] = {}
        for _, index in self._shards:
            keys = key_index.sort_keys(index.find(sorted(ref.uri for ref in shards)))
            for uri, version, *numbers in _rows(keys, "uri", "version", "images", "failed", "broken"):
                for key in ((uri, version), (uri, None)):
                    images, failed, broken = map(max, numbers, found.get(key, (0, 0, False)))
                    found[key] = images, failed, broken
        tally: Tally = Counter()
        for ref in shards:
            images, failed, broken = found.get((ref.uri, ref.version), (0, 0, True))
            tally[counts.LISTED] += images + broken
            tally[counts.DONE_BEFORE] += images - failed
            tally[counts.FAILED_BEFORE] += failed + broken
        return tally

    def _read_shards(self, table: str, index: KeyIndex, uris: Sequence[str]) -> Iterator[KnownKeys]:
        """Yield the shards that were read to their ends. One with failures counts as failed."""
        done, final, again = KnownKeys(table, False, []), KnownKeys(table, True, []), KnownKeys(table, True, [], [])
        columns = ("uri", "version", "attempts", "retryable", "failed", "broken")
        for uri, version, attempts, retryable, *failed in _rows(key_index.sort_keys(index.find(uris)), *columns):
            if any(failed) and self._retries.tries(retryable, attempts):
                again.keys.append((uri, version))
                again.attempts.append(attempts)  # type: ignore[union-attr]
            else:
                (final if any(failed) else done).keys.append((uri, version))
        yield from (known for known in (done, final, again) if known.keys)

    def _failures(self, index: KeyIndex, uris: Sequence[str]) -> Iterator[KnownKeys]:
        again: defaultdict[str, KnownKeys] = defaultdict(lambda: KnownKeys("", True, [], []))
        final: defaultdict[str, list[Key]] = defaultdict(list)
        columns = ("uri", "version", "table", "attempts", "retryable")
        for uri, version, table, attempts, retryable in _rows(index.find(uris), *columns):
            if table not in self._tables:
                continue
            if self._retries.tries(retryable, attempts):
                known = again[table]
                known.keys.append((uri, version))
                known.attempts.append(attempts)  # type: ignore[union-attr]
            else:
                final[table].append((uri, version))
        yield from (known._replace(table=table) for table, known in again.items())
        yield from (KnownKeys(table, True, keys) for table, keys in final.items())


def _rows(keys: pa.Table, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(keys[name].to_pylist() for name in columns), strict=True)
