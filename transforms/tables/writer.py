"""Write Arrow tables as Parquet files, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.storage import files

# BigQuery asks for row groups of at least 16 MiB, and readers hold one or a few of them in memory.
ROW_GROUP_BYTES = 32 << 20


def open_parquet(sink: BinaryIO | pa.NativeFile, schema: pa.Schema, metadata: Mapping[str, str]) -> pq.ParquetWriter:
    """Return a writer in the encoding of all files of beamsight, which any reader supports.

    zstd, dictionaries on strings only, and no BYTE_STREAM_SPLIT, which Spark 3.5 and 4.0 refuse. BigQuery and Spark
    expect the compliant child name ``element``. The stored Arrow schema keeps the fixed size of vectors for pyarrow,
    DuckDB and Lance.

    Args:
        sink: Where the bytes go.
        schema: The columns.
        metadata: Goes into the footer, with ``beamsight.`` before each key.
    """
    footer = {f"beamsight.{key}": value for key, value in metadata.items()}
    return pq.ParquetWriter(
        sink,
        schema.with_metadata(footer),
        compression="zstd",
        use_dictionary=_leaves(schema, pa.types.is_string),
        use_compliant_nested_type=True,
        store_schema=True,
        write_page_checksum=True,
    )


def to_parquet(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a table's Parquet file. See ``open_parquet``."""
    sink = pa.BufferOutputStream()
    with open_parquet(sink, table.schema, metadata) as writer:
        writer.write_table(table, row_group_size=_rows_of_a_group(table))
    return sink.getvalue().to_pybytes()


def put(uri: str, table: pa.Table, metadata: Mapping[str, str]) -> int:
    """Write the rows to ``uri``, or delete the file at ``uri`` if there are no rows. Return the size of the file.

    The deletion matters if a unit is repeated: its images may fail now and not in the first attempt, or the other way
    round. The file of the first attempt must not remain.
    """
    if not table.num_rows:
        files.delete(uri)
        return 0
    data = to_parquet(table, metadata)
    files.write(uri, data)
    return len(data)


class RowGroups:
    """Collects tables of the same schema, and writes a row group whenever there are enough rows for one."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> None:
        """Add rows. They are written in the order in which they are added."""
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def __enter__(self) -> RowGroups:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the rows that are still in memory as the last row group, and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._tables:
            together = pa.concat_tables(self._tables)
            if together.num_rows:
                self._writer.write_table(together, row_group_size=together.num_rows)
            self._tables, self._bytes = [], 0


def _rows_of_a_group(table: pa.Table) -> int:
    return max(1, ROW_GROUP_BYTES * table.num_rows // max(1, table.nbytes))


def _leaves(schema: pa.Schema, matches: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the Parquet paths of the leaf columns whose type matches."""
    paths: list[str] = []

    def visit(path: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for field in kind:
                visit(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            visit(f"{path}.list.element", kind.value_type)
        elif matches(kind):
            paths.append(path)

    for field in schema:
        visit(field.name, field.type)
    return paths
