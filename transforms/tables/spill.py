"""Split rows into buckets on the local disk, so that more rows can be grouped by URI than memory holds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from transforms.tables import key_index

BUCKET_FILES = 4  # published files whose keys fill a bucket: with 250,000 rows each, about 100 MB in memory

_CHUNK_ROWS = 1_000_000  # rows that are split at once
_MAX_BUCKETS = 1024
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def count_buckets(table_files: int) -> int:
    """Return the number of buckets for the keys of so many files."""
    return min(_MAX_BUCKETS, 1 + table_files // BUCKET_FILES)


class Buckets:
    """Rows in buckets by the hash of their URI. All rows of a URI are in the same bucket.

    Args:
        folder: An empty folder on the local disk, which is created.
        number: The number of buckets.
        schema: The columns. One is ``uri``.
    """

    def __init__(self, folder: Path, number: int, schema: pa.Schema) -> None:
        folder.mkdir()
        self._paths = [folder / f"{bucket}.arrow" for bucket in range(number)]
        self._schema = schema

    def add(self, pieces: Iterable[pa.Table]) -> None:
        """Split rows into the buckets."""
        for rows in key_index.split(pieces, _CHUNK_ROWS):
            hashes = (zlib.crc32(uri.encode()) for uri in rows["uri"].to_pylist())
            buckets = np.fromiter(hashes, np.uint32, rows.num_rows) % len(self._paths)
            order = np.argsort(buckets, kind="stable")
            ordered = rows.take(pa.array(order))
            ends = np.searchsorted(buckets[order], np.arange(len(self._paths)), side="right")
            start = 0
            for path, end in zip(self._paths, ends.tolist(), strict=True):
                if end > start:
                    with path.open("ab") as sink, pa.ipc.new_stream(sink, self._schema, options=_OPTIONS) as stream:
                        stream.write_table(ordered.slice(start, end - start))
                start = end

    def read(self, bucket: int) -> pa.Table:
        """Return the rows of a bucket."""
        pieces = [self._schema.empty_table()]
        path = self._paths[bucket]
        if path.exists():
            with pa.OSFile(str(path)) as source:
                while source.tell() < source.size():
                    pieces.append(pa.ipc.open_stream(source).read_all())
        return pa.concat_tables(pieces)
