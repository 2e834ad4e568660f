"""The keys of the tables that a run writes, from their key indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from transforms import defaults
from transforms.tables import layout
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
        places: The folders with key indexes of each table that the run writes, and of the failures. They add up.
        tables: The tables that the run writes. Failures in other tables are ignored.
        retries: Which failures are retried.
    """

    def __init__(self, places: Mapping[str, Sequence[str]], tables: Sequence[str], retries: Retries) -> None:
        self._tables = frozenset(tables)
        self._retries = retries
        self._done = [KeyIndex(place, table) for table in tables for place in places[table]]
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

    def _failures(self, index: KeyIndex, uris: Sequence[str]) -> Iterator[KnownKeys]:
        columns = index.find(uris).to_pydict()
        again: defaultdict[str, KnownKeys] = defaultdict(lambda: KnownKeys("", True, [], []))
        final: defaultdict[str, list[Key]] = defaultdict(list)
        rows = zip(*(columns[name] for name in ("uri", "version", "table", "attempts", "retryable")), strict=True)
        for uri, version, table, attempts, retryable in rows:
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
