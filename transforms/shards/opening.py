"""Open a shard: copy it to this machine, and find its kind by its first bytes."""

from __future__ import annotations

import gzip
import tarfile
from typing import Any, NamedTuple

from transforms import member_uris
from transforms.errors import BrokenShard
from transforms.shards import unpacking
from transforms.shards.container import Container, ShardOptions
from transforms.shards.parquet import ParquetShard
from transforms.shards.source import Source
from transforms.shards.tar import BLOCK, TarShard
from transforms.shards.tfrecord import TfrecordShard, length_of
from transforms.shards.zip_files import ZipShard
from transforms.storage import files
from transforms.storage.base import Stat

_LAYERS = 2  # of gzip: of the file, and of Content-Encoding on gs://


class OpenShard(NamedTuple):
    """A shard that is open, and the size and version of the file as it is stored."""

    container: Container
    stat: Stat


def open_shard(uri: str, version: str | None = None, options: ShardOptions = ShardOptions()) -> OpenShard:  # noqa: B008
    """Open a shard. Files that are not local are copied and verified first; see ``files.open_version``.

    Args:
        uri: The URI of the shard.
        version: The version to open. None for the current version.
        options: How to find its images.

    Raises:
        BrokenShard: The file is no shard.
        FetchError: The file cannot be read, or has another version.
        UsageError: The disk for temporary files is full.
    """
    opened, stat = files.open_version(uri, version)
    file: Any = opened
    if isinstance(file, gzip.GzipFile):  # Content-Encoding: only the stored bytes show where they are broken
        file = file.fileobj
    source = Source(stat, file)
    try:
        for _ in range(_LAYERS):
            if source.read_at(0, 2) == unpacking.MAGIC:
                source = unpacking.unpack(source)
        return OpenShard(_container(source, options), stat)
    except BaseException:
        source.close()
        raise


def _container(source: Source, options: ShardOptions) -> Container:
    start = source.read_at(0, BLOCK)
    if start.startswith(b"PAR1"):
        return ParquetShard(source, options)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipShard(source, options)
    if start[257:262] == b"ustar" or _is_tar_header(start):
        return TarShard(source, options)
    if length_of(start[:12]) is not None or (not start and member_uris.kind(source.uri) == "tfrecord"):
        return TfrecordShard(source, options)
    source.check_end()
    if not start:
        raise BrokenShard(f"{source.uri} is empty; create the file again", version=source.stat.version)
    raise BrokenShard(
        f"{source.uri} is no tar, zip, Parquet or TFRecord file: it starts with {start[:8]!r}",
        version=source.stat.version,
    )


def _is_tar_header(start: bytes) -> bool:
    """Return whether bytes are a header of the oldest kind of tar, by its checksum, or the end of an empty tar."""
    if len(start) == BLOCK and not start.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
