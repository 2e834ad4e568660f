"""Tell Parquet files that name images from those that hold images."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UsageError
from transforms.shards import image_columns
from transforms.storage import files

_END = 64 << 10  # bytes, which include most footers
_LENGTH = 8  # of the end of a footer: its length, and the magic bytes


class ParquetKinds:
    """Reads the schemas of the Parquet files of one source, until one of them holds images. Then all others do too.

    Args:
        uri_column: The column of a manifest that has the URIs.
        image_column: The column with the bytes of the images. None for the only such column.
    """

    def __init__(self, uri_column: str, image_column: str | None) -> None:
        self._uri_column = uri_column
        self._image_column = image_column
        self._are_shards = image_column is not None

    def is_shard(self, uri: str, *, in_folder: bool) -> bool:
        """Return whether a file holds images.

        Args:
            uri: The file.
            in_folder: Whether the file is in a folder that was listed. Manifests in folders are not read.

        Raises:
            UsageError: The file is named, and has both URIs and bytes, or neither. Or it has several columns of bytes.
            FetchError: The file cannot be read.
        """
        if not self._are_shards:
            try:
                schema = read_schema(uri)
            except UsageError:
                if in_folder:
                    return True  # so that it becomes a failure and is not lost
                raise
            if in_folder and not image_columns.image_columns(schema):
                return False
            try:
                kind = image_columns.describe(schema, "" if in_folder else self._uri_column)
            except UsageError as error:
                raise UsageError(f"{uri}: {error}") from error
            self._are_shards = kind == "shard"
        return self._are_shards


def read_schema(uri: str) -> pa.Schema:
    """Return the schema of a Parquet file, with one or two requests. Raises UsageError for any other file."""
    end = files.read_end(uri, _END)
    length = int.from_bytes(end[-_LENGTH:-4], "little") + _LENGTH
    if length > len(end):
        end = files.read_end(uri, length)
    try:
        return pq.ParquetFile(io.BytesIO(end)).schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{uri} is not a Parquet file: {error}; create it again, or pass other images") from error
