"""Parquet file -> some of its columns, a row group of them, or what its footer says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import FetchError
from transforms.storage import files


def parts(folder: str) -> Iterator[str]:
    """URIs of the Parquet files of a table, whose folder ends in a slash; none where there is no such folder."""
    return (stat.uri for stat in files.walk(folder) if stat.uri.endswith(".parquet"))


def read(uri: str, columns: Sequence[str], younger: Sequence[str] = ()) -> pa.Table:
    """The columns of one file, and of those ``younger`` than some files what there is. Nothing else is read.

    Raises FetchError, also for a file that is no Parquet: nothing of ours is ever half written, so somebody has put it
    there or damaged it, and to pass over it would do its images again.
    """
    with _opened(uri) as file:
        there = set(file.schema_arrow.names)
        return file.read(columns=[*_there(file, columns), *(name for name in younger if name in there)])


def row_groups(uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """As ``read``, in pieces of at most 4,096 rows, of which one at a time is held."""
    with _opened(uri) as file:
        wanted = _there(file, columns)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=wanted)


def footer(uri: str) -> tuple[int, dict[str, str]]:
    """The number of its rows, and what it says of itself under ``beamsight.``. Raises FetchError."""
    with _opened(uri) as file:
        said = file.metadata.metadata or {}
        pairs = ((key.decode(), value.decode()) for key, value in said.items())
        return file.metadata.num_rows, {
            key.removeprefix("beamsight."): value for key, value in pairs if key.startswith("beamsight.")
        }


@contextmanager
def _opened(uri: str) -> Iterator[pq.ParquetFile]:
    with files.open(uri) as source:
        try:
            yield pq.ParquetFile(source)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(uri, error) from error
        except _Lacking as error:
            raise _damaged(uri, error) from None


class _Lacking(Exception):
    pass


def _there(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """The columns, all of which a file must have."""
    lacking = set(columns) - set(file.schema_arrow.names)
    if lacking:
        raise _Lacking(f"it has no {', '.join(sorted(lacking))}")
    return list(columns)


def _damaged(uri: str, why: object) -> FetchError:
    return FetchError(f"{uri} cannot be read as a part of the table: {why}; restore or remove it")
