"""The Parquet files of some days: list them, find the files of a run, and order them for samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date

from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import layout, reader

THREADS = 16  # Files read at once. On gs://, most of the time is spent waiting.


def list_days(output: str, table: str, days: Iterable[date]) -> list[str]:
    """Return the files of some logical days of a table, ordered by a hash of their names.

    The first files in this order are the same sample every time.
    """
    folders = (layout.folder(output, f"{table}/dt={day}") for day in sorted(set(days)))
    return sorted((uri for folder in folders for uri in reader.parts(folder)), key=lambda uri: rank(files.name(uri)))


def filter_by_run(uris: Iterable[str], run_ids: Collection[str]) -> list[str]:
    """Return the files that these runs wrote, in the same order. Reads the footers."""
    written = {uri for uri, run_id, _ in _footers(uris) if run_id in run_ids}
    return [uri for uri in uris if uri in written]


def count_rows(uris: Iterable[str]) -> Counter[str]:
    """Return the number of rows by run ID. Reads the footers."""
    rows: Counter[str] = Counter()
    for _, run_id, count in _footers(uris):
        rows[run_id] += count
    return rows


def first(uris: Sequence[str], rows: int) -> list[str]:
    """Return the first files that together have at least so many rows, or all files. Reads footers."""
    taken: list[str] = []
    found = 0
    for uri, _, count in _footers(uris):
        taken.append(uri)
        found += count
        if found >= rows:
            break
    return taken


def _footers(uris: Iterable[str]) -> Iterable[tuple[str, str, int]]:
    return prefetch(uris, _footer, threads=THREADS, window=2 * THREADS)


def _footer(uri: str) -> tuple[str, str, int]:
    rows, metadata = reader.footer(uri)
    return uri, metadata.get("run_id", ""), rows


def rank(text: str) -> bytes:
    """Return the hash that orders samples. It is the same on every machine and in every run."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
