"""Make the key index of a table anew from the files of the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, repeat

import pyarrow as pa

from transforms.storage import files
from transforms.tables import key_index, layout, reader
from transforms.tables.key_index import IndexFile

CHUNK = 1_000  # files of the table, whose keys are read by one worker

_READERS = 16  # concurrent reads: on gs:// most of a read is waiting


def is_current(output: str, table: str) -> bool:
    """Return whether the index has the keys of as many files as the table has."""
    table_files = sum(1 for _ in reader.parts(layout.folder(output, table)))
    return table_files == key_index.count_table_files(key_index.read_files(output, table))


def start(output: str, table: str) -> Iterator[tuple[str, list[str]]]:
    """Delete the index of a table, and yield the files of the table in chunks, each with the name of the table."""
    key_index.delete(output, table, [each.name for each in key_index.read_files(output, table)])
    uris = iter(sorted(reader.parts(layout.folder(output, table))))
    while chunk := list(islice(uris, CHUNK)):
        yield table, chunk


def index_files(table: str, uris: Sequence[str], place: str) -> None:
    """Write the keys of some files of a table to the index at ``place``.

    Args:
        table: The name of the table.
        uris: The files.
        place: The folder of the tables, or another folder for an index that is needed only once.
    """
    stem = hashlib.sha256("\n".join(uris).encode()).hexdigest()[:16]
    with ThreadPoolExecutor(_READERS) as pool:
        batches = (
            pool.map(_keys, uris[start : start + _READERS], repeat(table)) for start in range(0, len(uris), _READERS)
        )
        parts = key_index.split(chain.from_iterable(batches), key_index.FILE_ROWS)
        for number, keys in enumerate(parts):
            about = IndexFile(f"{stem}-{number:04}", table_files=0 if number else len(uris))
            key_index.put(place, table, key_index.sort_keys(keys), about)


def rebuild(output: str, tables: Iterable[str]) -> None:
    """Make the indexes of some tables anew, in this process."""
    for table in tables:
        for _, uris in start(output, table):
            index_files(table, uris, output)
        key_index.merge(output, table)


def _keys(uri: str, table: str) -> pa.Table:
    if table != layout.FAILURES:
        return reader.read(uri, key_index.DONE.names).cast(key_index.DONE)
    rows = reader.read(uri, ("uri", "version", "tables", "retryable"), younger=("attempt",)).to_pylist()
    # Early files of the table have no attempts.
    keys = [{**row, "table": table, "attempts": row.get("attempt") or 1} for row in rows for table in row["tables"]]
    return pa.Table.from_pylist(keys, schema=key_index.FAILED)


def list_tables(output: str) -> list[str]:
    """Return the names of all tables, such as ``predictions/model=efficientnet-b7-1a2b3c4d``, and ``failures``."""
    top = files.join(output, "")
    names = set()
    for folder in ("predictions", "embeddings", layout.FAILURES):
        for uri in reader.parts(layout.folder(output, folder)):
            table, partition, _ = uri.removeprefix(top).rpartition("/dt=")
            if partition:
                names.add(table)
    return sorted(names)
