"""The key index of a table: the URIs and versions of its published rows, sorted by URI, in few files.

Each published file of a table has one index file, which is written before it and counts only if the published file
exists. So the creation of the published file changes the table and its index in one step. Small index files are
merged. A key that is in more than one file is harmless: all files are read as one set.

An index file ``<name>.parquet`` has at most ``FILE_ROWS`` keys. ``<name>.json`` beside it, which is written last, has
their range. A folder of index files is small enough to be listed and read by each worker.
"""

from __future__ import annotations

import dataclasses
import io
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms import member_uris
from transforms.errors import FetchError, NotFound
from transforms.storage import files
from transforms.tables import layout, writer

FILE_ROWS = 500_000
GROUP_ROWS = 32_768

_READERS = 16  # concurrent requests
_CACHED_FILES, _CACHED_GROUPS = 4, 32  # of one index, about 20 and 3 MB each

DONE = pa.schema([pa.field("uri", pa.string(), nullable=False), pa.field("version", pa.string())])
FAILED = pa.schema(
    [
        *DONE,
        pa.field("table", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
    ]
)
SHARDS = pa.schema(
    [
        *DONE,
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("broken", pa.bool_(), nullable=False),
    ]
)
# Of several rows of a key. A shard that was read again without a failure has none.
_COMBINED = {"attempts": "max", "retryable": "min", "images": "max", "failed": "min", "broken": "min"}


def schema_of(table: str) -> pa.Schema:
    """Return the columns of a table's index. Failures have the table that lacks the image, and the failed attempts."""
    if layout.is_of_shards(table):
        return SHARDS
    return FAILED if table == layout.FAILURES else DONE


def to_keys(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return URIs as the index stores and sorts them, see ``member_uris.to_key``."""
    return _convert(uris, member_uris.to_key)


def _convert(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.ChunkedArray:
    if not pc.any(pc.match_substring(column, "::")).as_py():  # 0.6 s for 10 million
        return column
    return pa.chunked_array([[change(value) for value in column.to_pylist()]], pa.string())


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What the JSON beside an index file says.

    Attributes:
        name: The name of the file, without a suffix.
        first: The least URI.
        last: The greatest URI.
        level: 0 for the keys of one published file; one more for each merge.
        table_files: The number of published files whose keys are here.
        table_file: The published file, relative to the output. The index file counts only if it exists.
        replaces: The names of the index files that were merged into this one and its siblings.
    """

    name: str
    first: str = ""
    last: str = ""
    level: int = 0
    table_files: int = 0
    table_file: str | None = None
    replaces: tuple[str, ...] = ()


def put(output: str, table: str, keys: pa.Table, about: IndexFile) -> None:
    """Write an index file of at most ``FILE_ROWS`` sorted keys. ``about`` needs no range."""
    about = dataclasses.replace(about, first=keys["uri"][0].as_py(), last=keys["uri"][-1].as_py())
    sink = pa.BufferOutputStream()
    with writer.open_parquet(sink, keys.schema, {}) as parquet:
        parquet.write_table(keys, row_group_size=GROUP_ROWS)
    files.write(_path(output, table, about.name, "parquet"), sink.getvalue().to_pybytes())
    files.write(_path(output, table, about.name, "json"), json.dumps(dataclasses.asdict(about)).encode())


def delete(output: str, table: str, names: Iterable[str]) -> None:
    """Delete index files. The JSON goes first, so that no half of a file counts."""
    for name in names:
        for suffix in ("json", "parquet"):
            files.delete(_path(output, table, name, suffix))


def read_files(output: str, table: str) -> list[IndexFile]:
    """Return all index files of a table, sorted by their first URI. Raises FetchError if one is damaged."""
    listed = [stat.uri for stat in files.walk(layout.index_folder(output, table), recursive=False)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = [each for each in pool.map(read_about, (uri for uri in listed if uri.endswith(".json"))) if each]
    return sorted(found, key=lambda each: (each.first, each.name))


def read_about(uri: str) -> IndexFile | None:
    """Read the JSON of an index file. None if it does not exist. Raises FetchError if it is damaged."""
    try:
        values = json.loads(files.read(uri)[0])
        return IndexFile(**{**values, "replaces": tuple(values["replaces"])})
    except NotFound:  # it was merged in the meantime
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise FetchError(f"{uri} is damaged ({error!r}); run `beamsight index rebuild` with the output") from error


def count_table_files(index_files: Iterable[IndexFile]) -> int:
    """Return the number of published files whose keys are in the index."""
    index_files = list(index_files)
    replaced = {name for each in index_files for name in each.replaces}
    return sum(each.table_files for each in index_files if each.name not in replaced)


def sort_keys(keys: pa.Table) -> pa.Table:
    """Return distinct keys sorted by URI. Failures of a key are combined to one with the most attempts."""
    names = [name for name in keys.column_names if name not in _COMBINED]
    values = [(name, how) for name, how in _COMBINED.items() if name in keys.column_names]
    distinct = keys.group_by(names).aggregate(values).sort_by([(name, "ascending") for name in names])
    columns = [distinct[f"{name}_{_COMBINED[name]}" if name in _COMBINED else name] for name in keys.column_names]
    return pa.Table.from_arrays(columns, schema=keys.schema)


class KeyIndex:
    """The index of one table, as it is when this object is made."""

    def __init__(self, output: str, table: str, index_files: Sequence[IndexFile] | None = None) -> None:
        self.table = table
        self.files = read_files(output, table) if index_files is None else list(index_files)
        self._output = output
        self._open = lru_cache(_CACHED_FILES)(self._open_file)
        self._group = lru_cache(_CACHED_GROUPS)(self._read_group)

    def find(self, uris: Sequence[str]) -> pa.Table:
        """Return the keys of some URIs, which must be sorted. Only the parts of the index around them are read."""
        if not uris:
            return schema_of(self.table).empty_table()
        if any("::" in uri for uri in uris):
            uris = sorted(map(member_uris.to_key, uris))
        wanted = pa.array(uris, pa.string())
        found = [schema_of(self.table).empty_table()]
        for each in self.files:
            if not _has_one(uris, each.first, each.last):
                continue
            parquet = self._open(each.name)
            for group in range(parquet.metadata.num_row_groups):
                statistics = parquet.metadata.row_group(group).column(0).statistics
                # URIs of more than 4 KiB have no statistics.
                ranged = statistics is not None and statistics.has_min_max
                if not ranged or _has_one(uris, statistics.min, statistics.max):
                    keys = self._group(each.name, group)
                    found.append(keys.filter(pc.is_in(keys["uri"], wanted)))
        keys = pa.concat_tables(found)
        return keys.set_column(0, keys.field(0), _convert(keys["uri"], member_uris.from_key))

    def boundaries(self) -> list[str]:
        """Return the first keys of the index files. They split all keys into ranges with similar numbers of them."""
        return sorted({each.first for each in self.files})

    def read_sorted(self, each: IndexFile) -> Iterator[pa.Table]:
        """Yield the keys of one of the files in pieces."""
        parquet = self._open_file(each.name)
        for group in range(parquet.metadata.num_row_groups):
            yield parquet.read_row_group(group).cast(schema_of(self.table))

    def _open_file(self, name: str) -> pq.ParquetFile:
        data, _ = files.read(_path(self._output, self.table, name, "parquet"))
        return pq.ParquetFile(io.BytesIO(data))

    def _read_group(self, name: str, group: int) -> pa.Table:
        return self._open(name).read_row_group(group).cast(schema_of(self.table))


def replace_about(output: str, table: str, about: IndexFile) -> None:
    """Write the JSON of an index file again, with the same range."""
    uri = _path(output, table, about.name, "json")
    stored = json.loads(files.read(uri)[0])
    changed = dataclasses.asdict(about) | {name: stored[name] for name in ("first", "last")}
    files.write(uri, json.dumps(changed).encode())


def split(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows again, as tables of ``rows`` rows each and one with the rest."""
    held: list[pa.Table] = []
    for piece in pieces:
        held.append(piece)
        while sum(each.num_rows for each in held) >= rows:
            together = pa.concat_tables(held)
            yield together.slice(0, rows)
            held = [together.slice(rows)]
    rest = pa.concat_tables(held) if held else None
    if rest is not None and rest.num_rows:
        yield rest


def _has_one(uris: Sequence[str], first: str, last: str) -> bool:
    """Return whether one of the sorted URIs lies in a range."""
    position = bisect_left(uris, first)
    return position < len(uris) and uris[position] <= last


def _path(output: str, table: str, name: str, suffix: str) -> str:
    return f"{layout.index_folder(output, table)}{name}.{suffix}"
