"""Parquet file -> some of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import FetchError
from transforms.storage import files


def parts(folder: str) -> Iterator[str]:
    """URIs of the Parquet files of a table, whose folder ends in a slash; none where there is no such folder."""
    return (stat.uri for stat in files.walk(folder) if stat.uri.endswith(".parquet"))


def read(uri: str, columns: Sequence[str]) -> pa.Table:
    """The columns of one file. Only they are read, not the vectors beside them.

    Raises FetchError, also for a file that is no Parquet: nothing of ours is ever half written, so somebody has put it
    there or damaged it, and to pass over it would do its images again.
    """
    with files.open(uri) as source:
        try:
            read = pq.ParquetFile(source).read(columns=list(columns))
            lacking = set(columns) - set(read.column_names)
            if not lacking:
                return read
            why: object = f"it has no {', '.join(sorted(lacking))}"
        except (pa.ArrowException, OSError) as error:
            why = error
    raise FetchError(f"{uri} cannot be read as a part of the table: {why}; restore or remove it")
