"""Images in a column of a Parquet file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import BrokenShard, TooManyBytes, Unreadable, UsageError
from transforms.member_uris import Kind
from transforms.shards.container import Member, ShardOptions
from transforms.shards.image_columns import Column, image_column
from transforms.shards.source import Source
from transforms.storage.base import Stat, temporary

_SEGMENT = 64 << 20  # bytes of images in a temporary file
_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 16  # in a dictionary, one image of 128 MB may stand for all rows
_BUFFER = 1 << 20  # bytes of a column that are read ahead


class ParquetShard:
    """``Container`` for a Parquet file.

    A value cannot be read at its place, so ``members`` copies the bytes to temporary files. Each is deleted when no
    member in it is held. Parquet is read in whole pages: one page and one dictionary are in memory at a time.
    """

    kind: Kind = "parquet"

    def __init__(self, source: Source, options: ShardOptions) -> None:
        self.others = 0
        self._source = source
        self._options = options

    def members(self) -> Iterator[Member]:
        """See ``Container.members``."""
        with self._errors("the file"):
            file = pq.ParquetFile(
                self._source.file, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
            column = image_column(file.schema_arrow, self._options.image_column)
        segment = _Segment(self._source.stat)
        row = 0
        for group in range(file.num_row_groups):
            first = row
            with self._errors(f"row group {group}"):
                batches = self._batches(file, column, group)
            while True:
                with self._errors(f"row group {group} from row {row:,}"):
                    batch = next(batches, None)
                    values = None if batch is None else _values(batch, column)
                if values is None:
                    break
                for value, path in values:
                    if segment.size >= _SEGMENT:
                        segment = _Segment(self._source.stat)
                    yield self._member(str(row), value, path, segment)
                    row += 1
            if row - first != (declared := file.metadata.row_group(group).num_rows):
                raise self._broken(f"row group {group} has {row - first:,} rows instead of {declared:,}")
        self._source.check_end()

    def read(self, member: Member) -> bytes:
        """See ``Container.read``."""
        place: _Place | None = member.place
        if place is None:
            size, most = member.size or 0, self._options.max_bytes
            raise TooManyBytes(f"row {member.name} has {size:,} bytes, more than --max-bytes {most:,}")
        return place.segment.read_at(place.start, member.size or 0)

    def close(self) -> None:
        """See ``Container.close``."""
        self._source.close()

    def _batches(self, file: Any, column: Column, group: int) -> Iterator[Any]:
        metadata = file.metadata.row_group(group)
        size = sum(
            part.total_uncompressed_size
            for part in (metadata.column(index) for index in range(metadata.num_columns))
            if part.path_in_schema in column.parts
        )
        each = max(1, size // max(1, metadata.num_rows))
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // each))
        return iter(file.iter_batches(rows, row_groups=[group], columns=list(column.parts), use_threads=False))

    def _member(self, name: str, value: bytes | memoryview | None, path: str | None, segment: _Segment) -> Member:
        if value is None:
            named = f"; its path is {path!r}, and only bytes are read" if path else ""
            return Member(name, fault=f"has no bytes of an image in its row{named}; write the bytes, or remove the row")
        size = len(value)
        if size > self._options.max_bytes:
            return Member(name, size)
        return Member(name, size, _Place(segment, segment.append(value)))

    @contextmanager
    def _errors(self, where: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # such as a name that is not UTF-8
            # An error with a number comes from the disk, not from the content, which pyarrow refuses without one.
            if isinstance(error, OSError) and error.errno is not None:
                reason = f"{self._source.uri} cannot be read now: {error.strerror}; run again"
                raise Unreadable(reason, retryable=True, version=self._source.stat.version) from error
            self._source.check_end()
            raise self._broken(f"{where} cannot be read ({str(error)[:1000]})") from error
        except UsageError as error:
            raise self._broken(str(error)) from error

    def _broken(self, reason: str) -> BrokenShard:
        return BrokenShard(f"{self._source.uri}: {reason}", version=self._source.stat.version)


class _Segment:
    """A temporary file of images, which exists as long as this object."""

    def __init__(self, stat: Stat) -> None:
        self.size = 0
        self._stat = stat
        with temporary(stat):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the object

    def append(self, data: bytes | memoryview) -> int:
        """Write bytes. Return their place."""
        start = self.size
        with temporary(self._stat):
            self._file.write(data)
            self._file.flush()
        self.size += len(data)
        return start

    def read_at(self, start: int, count: int) -> bytes:
        """Return bytes that were written. Thread-safe."""
        with temporary(self._stat):
            return os.pread(self._file.fileno(), count, start)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # the constructor failed, or the disk is full
            self._file.close()


class _Place(NamedTuple):
    segment: _Segment
    start: int


def _values(batch: Any, column: Column) -> list[tuple[memoryview | bytes | None, str | None]]:
    """Return the bytes and the path of each row. The bytes are not copied."""
    values = batch.column(column.name)
    paths: list[Any] = [None] * len(values)
    if column.is_struct:
        is_null = values.is_null().to_pylist()
        names = [field.name for field in values.type]
        if "path" in names:
            paths = values.field(names.index("path")).cast(pa.binary()).to_pylist()
        values = values.field(names.index("bytes"))
    else:
        is_null = [False] * len(values)
    return [
        (
            None if null or not value.is_valid else _bytes(value),
            path.decode("utf-8", "backslashreplace") if path else None,
        )
        for value, null, path in zip(values, is_null, paths, strict=True)
    ]


def _bytes(value: Any) -> memoryview | bytes:
    buffer = value.as_buffer() if hasattr(value, "as_buffer") else None
    return value.as_py() if buffer is None else memoryview(buffer)
