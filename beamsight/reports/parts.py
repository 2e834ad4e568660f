"""The Parquet files of a day: which there are, whose they are, and a share of them where there are too many."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date

from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import layout, reader

THREADS = 16  # files read at once: on gs:// most of it is waiting


def of_day(output: str, table: str, day: date) -> list[str]:
    """The files of a table's day, ordered by a hash of their names.

    A unit holds the images whose URI has a certain hash, so that any of its files is a fair sample of the day, and the
    first of this order are the same sample every time.
    """
    folder = layout.folder(output, f"{table}/dt={day}")
    return sorted(reader.parts(folder), key=lambda uri: order(files.name(uri)))


def of_runs(uris: Iterable[str], run_ids: Collection[str]) -> list[str]:
    """Those that these runs wrote, in the same order. Reads the footers."""
    written = {uri for uri, run_id, _ in _footers(uris) if run_id in run_ids}
    return [uri for uri in uris if uri in written]


def rows_of_runs(uris: Iterable[str]) -> Counter[str]:
    """Rows by run. Reads the footers."""
    rows: Counter[str] = Counter()
    for _, run_id, count in _footers(uris):
        rows[run_id] += count
    return rows


def _footers(uris: Iterable[str]) -> Iterable[tuple[str, str, int]]:
    return prefetch(uris, _footer, threads=THREADS, window=2 * THREADS)


def _footer(uri: str) -> tuple[str, str, int]:
    rows, metadata = reader.footer(uri)
    return uri, metadata.get("run_id", ""), rows


def order(text: str) -> bytes:
    """What samples are chosen by: the same on every machine and in every run, and of no other meaning."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
