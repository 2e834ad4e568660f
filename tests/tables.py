"""Tables as a user reads them: every one with pyarrow and with DuckDB, which must agree."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from gcs_server import Bucket
from s3_server import S3Bucket

Rows = list[dict[str, Any]]


def files_of(output: Path | Bucket | S3Bucket, table: str) -> dict[str, bytes]:
    """All files in the folder of a table, by name. In a bucket, the output is the folder ``out``."""
    if isinstance(output, Bucket | S3Bucket):
        return {name: output.get(name) for name in output.names() if name.startswith(f"out/{table}/")}
    return {str(path): path.read_bytes() for path in sorted((output / table).rglob("*")) if path.is_file()}


def units_of(output: Path | Bucket | S3Bucket, table: str) -> list[str]:
    """The files of a table's units that are not published yet. In a bucket, the output is the folder ``out``."""
    if isinstance(output, Bucket | S3Bucket):
        return [name for name in output.names() if name.startswith("out/_work/units/") and f"/{table}/" in name]
    return [str(path) for path in output.glob(f"_work/units/*/{table}/**/*.parquet") if path.name[0] != "."]


def rows(output: Path | Bucket | S3Bucket, table: str, scratch: Path) -> Rows:
    """All rows of ``predictions``, ``embeddings`` or ``failures``, by URI. Each file must be whole Parquet."""
    read: Rows = []
    copy = scratch / "copy.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_external_file_cache = false")  # the copies share a name
        for name, data in files_of(output, table).items():
            assert name.endswith(".parquet"), name
            by_arrow = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
            copy.write_bytes(data)
            assert _plain(connection.read_parquet(str(copy)).to_arrow_table().to_pylist()) == _plain(by_arrow)
            read += by_arrow
    return sorted(read, key=lambda row: (row["uri"], row["version"] or ""))


def _plain(read: Rows) -> list[str]:
    return sorted(
        repr({key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}) for row in read
    )


def by_uri(read: Rows) -> dict[str, dict[str, Any]]:
    """Rows by URI; a URI that stands there twice is an error."""
    found = {row["uri"]: row for row in read}
    assert len(found) == len(read), "a URI has more than one row"
    return found
