"""Read columns, row groups and footers of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import FetchError, Unreadable
from transforms.storage import files


def parts(folder: str) -> Iterator[str]:
    """Return the URIs of the Parquet files of a table. ``folder`` ends in a slash and may not exist."""
    return (stat.uri for stat in files.walk(folder) if stat.uri.endswith(".parquet"))


def read(uri: str, columns: Sequence[str], younger: Sequence[str] = ()) -> pa.Table:
    """Return columns of one file.

    Args:
        uri: The file.
        columns: Columns that the file must have.
        younger: Columns that older files may lack.

    Raises:
        FetchError: The file cannot be read, or is not a part of a table. beamsight never leaves a half-written file,
            so it was damaged or put there by hand. Skipping it would process its images again.
    """
    with _open(uri) as file:
        names = set(file.schema_arrow.names)
        return file.read(columns=[*_require(file, columns), *(name for name in younger if name in names)])


def row_groups(uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the columns in pieces of at most 4,096 rows. Only one piece is in memory. Raises as ``read``."""
    with _open(uri) as file:
        wanted = _require(file, columns)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=wanted)


def every_row(uri: str) -> Iterator[pa.Table]:
    """Yield all columns, a row group at a time. Raises as ``read``."""
    with _open(uri) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def columns(uri: str) -> list[str]:
    """Return the names of the columns of one file. Raises FetchError."""
    with _open(uri) as file:
        return list(file.schema_arrow.names)


def footer(uri: str) -> tuple[int, dict[str, str]]:
    """Return the number of rows, and the metadata whose keys start with ``beamsight.``. Raises FetchError."""
    with _open(uri) as file:
        metadata = file.metadata.metadata or {}
        pairs = ((key.decode(), value.decode()) for key, value in metadata.items())
        return file.metadata.num_rows, {
            key.removeprefix("beamsight."): value for key, value in pairs if key.startswith("beamsight.")
        }


@contextmanager
def _open(uri: str) -> Iterator[pq.ParquetFile]:
    with files.open(uri) as source:
        try:
            yield pq.ParquetFile(source, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            # An error with a number comes from the disk, not from the content, which pyarrow refuses without one.
            if isinstance(error, OSError) and error.errno is not None:
                raise Unreadable(f"{uri} cannot be read now: {error.strerror}; run again", retryable=True) from error
            raise _unusable(uri, error) from error
        except _MissingColumn as error:
            raise _unusable(uri, error) from None


class _MissingColumn(Exception):
    pass


def _require(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Return the columns. Raises ``_MissingColumn`` if the file lacks one of them."""
    lacking = set(columns) - set(file.schema_arrow.names)
    if lacking:
        raise _MissingColumn(f"it has no {', '.join(sorted(lacking))}")
    return list(columns)


def _unusable(uri: str, reason: object) -> FetchError:
    return FetchError(f"{uri} cannot be read as a part of the table: {reason}; restore or remove the file")
