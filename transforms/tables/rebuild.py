"""Make the key index of a table anew from the files of the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, islice, repeat

import pyarrow as pa

from transforms.errors import FetchError
from transforms.storage import files
from transforms.tables import index_merge, key_index, layout, publish, reader
from transforms.tables.key_index import IndexFile

CHUNK = 1_000  # files of the table, whose keys are read by one worker

_READERS = 16  # concurrent reads: on gs:// most of a read is waiting


def is_current(output: str, table: str, index_files: Sequence[IndexFile] | None = None) -> bool:
    """Return whether the index has the keys of as many files as the table has. Reads them if they are None."""
    if index_files is None:
        index_files = key_index.read_files(output, table)
    table_files = sum(1 for _ in reader.parts(layout.folder(output, table)))
    return table_files == key_index.count_table_files(index_files)


def start(output: str, table: str) -> Iterator[tuple[str, list[str]]]:
    """Delete the index of a table, and yield the files of the table in chunks, each with the name of the table."""
    delete(output, table)
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
        parts = map(key_index.sort_keys, key_index.split(chain.from_iterable(batches), key_index.FILE_ROWS))
        keys = next(parts, None)
        for number in count():
            if keys is None:
                return
            following = next(parts, None)
            # The last part counts the files. If this is killed before it, the index is not current, and is made again.
            counted = len(uris) if following is None else 0
            key_index.put(place, table, keys, IndexFile(f"{stem}-{number:04}", table_files=counted))
            keys = following


def rebuild(output: str, tables: Iterable[str], token: str = "") -> None:
    """Make the indexes of some tables anew, in this process.

    Args:
        output: The folder of the tables.
        tables: The tables. The index of a table without files is only deleted.
        token: The token of the lock that this process holds; empty if nothing else can write to the output.

    Raises:
        Stopped: Another run holds the lock. The next run makes the index again.
    """
    for table in tables:
        publish.require_lock(output, token)
        for _, uris in start(output, table):
            index_files(table, uris, output)
            publish.require_lock(output, token)
        index_merge.merge(output, table)


def delete(output: str, table: str) -> None:
    """Delete the index of a table, and what killed writes of index files left.

    The files that count files of the table go first. So if this is killed, the rest is not current, and the next run
    makes the index anew.
    """
    listed = [stat.uri for stat in files.walk(layout.index_folder(output, table), recursive=False)]
    counted = {uri: _count_of(uri) for uri in listed if uri.endswith(".json")}
    for uri in sorted(listed, key=lambda uri: counted.get(uri, -2), reverse=True):
        files.delete(uri)


def _count_of(uri: str) -> int:
    """Return the number of files that an index file counts; -1 for a damaged one."""
    try:
        about = key_index.read_about(uri)
    except FetchError:
        return -1
    return about.table_files if about else 0


def complete(output: str, tables: Iterable[str], scratch: str) -> dict[str, tuple[str, ...]]:
    """Return the folders with the key indexes of each table, which together have all keys, and write nothing there.

    The result is what a run finds after it has brought the indexes up to date and has published the units that killed
    runs left. Keys that the output has no current index for are written to a temporary folder.

    Args:
        output: The folder of the tables.
        tables: The tables.
        scratch: The temporary folder.
    """
    leftovers = list(chain.from_iterable(publish.list_leftovers(output).values()))
    places: dict[str, tuple[str, ...]] = {}
    for table in tables:
        uris = [unit.uri for unit in leftovers if unit.table == table]
        if is_current(output, table):
            places[table] = (output, scratch) if uris else (output,)
        else:
            uris += reader.parts(layout.folder(output, table))
            places[table] = (scratch,)
        for start_ in range(0, len(uris), CHUNK):
            index_files(table, uris[start_ : start_ + CHUNK], scratch)
    return places


def _keys(uri: str, table: str) -> pa.Table:
    columns = ["uri", "version"]
    if layout.is_of_shards(table):
        columns += ["attempt", "retryable", "images", "failed", "broken"]
    elif table == layout.FAILURES:
        columns += ["tables", "retryable"]
    # Early files of the failures have no attempts.
    return keys_of(reader.read(uri, columns, younger=("attempt",) if table == layout.FAILURES else ()), table)


def keys_of(rows: pa.Table, table: str) -> pa.Table:
    """Return the keys of some rows of a table. Failures have a key for each table that lacks the image."""
    rows = rows.set_column(rows.column_names.index("uri"), "uri", key_index.to_keys(rows["uri"]))
    if layout.is_of_shards(table):
        names = ["attempt" if name == "attempts" else name for name in key_index.SHARDS.names]
        return rows.select(names).rename_columns(key_index.SHARDS.names).cast(key_index.SHARDS)
    if table != layout.FAILURES:
        return rows.select(key_index.DONE.names).cast(key_index.DONE)
    keys = [
        {**row, "table": lacking, "attempts": row.get("attempt") or 1}
        for row in rows.to_pylist()
        for lacking in row["tables"]
    ]
    return pa.Table.from_pylist(keys, schema=key_index.FAILED)
