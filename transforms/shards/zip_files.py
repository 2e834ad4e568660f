"""Images in a zip."""

from __future__ import annotations

import bz2
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator

from transforms.errors import Corrupt, TooManyBytes
from transforms.member_uris import Kind
from transforms.shards import zip_directory
from transforms.shards.container import Member, ShardOptions
from transforms.shards.member_names import Names, is_image
from transforms.shards.source import Source
from transforms.shards.zip_directory import LOCAL, Entry

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED, _PATCH = 0x1, 0x20  # flags
_OVERHEAD = 1 << 20  # bytes that a compressed image may have more than the image
_END_MARKER = 0x2  # flag: LZMA data has a marker at its end
_LZMA_MEMORY = 256 << 20  # bytes: a dictionary may be declared with 4 GB


class ZipShard:
    """``Container`` for a zip, also in the format zip64."""

    kind: Kind = "zip"

    def __init__(self, source: Source, options: ShardOptions) -> None:
        self.others = 0
        self._source = source
        self._max_bytes = options.max_bytes

    def members(self) -> Iterator[Member]:
        """See ``Container.members``. The order is that of the data in the file."""
        self.others = 0
        names = Names()
        for entry in zip_directory.entries(self._source):
            if not is_image(entry.name):
                self.others += 1
                continue
            name, fault = names.check(entry.name)
            yield Member(name, entry.size, entry, fault or _fault(entry))
        self._source.check_end()

    def read(self, member: Member) -> bytes:
        """See ``Container.read``. No more than the declared size is decompressed."""
        entry: Entry = member.place
        if entry.size > self._max_bytes or entry.packed > self._max_bytes + _OVERHEAD:
            size = max(entry.size, entry.packed)
            raise TooManyBytes(f"{member.name} has {size:,} bytes, more than --max-bytes {self._max_bytes:,}")
        header = self._source.read_at(entry.place, LOCAL.size)
        if not header.startswith(b"PK\3\4") or len(header) < LOCAL.size:
            raise Corrupt(f"{member.name} has no valid header at byte {entry.place:,}; create the file again")
        start = entry.place + LOCAL.size + sum(LOCAL.unpack(header)[-2:])
        packed = self._source.read_at(start, entry.packed)
        try:
            data = _decompress(entry, packed)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            raise Corrupt(f"{member.name} cannot be decompressed: {error or type(error).__name__}") from error
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise Corrupt(f"{member.name} does not match its size of {entry.size:,} bytes and its CRC-32")
        return data

    def close(self) -> None:
        """See ``Container.close``."""
        self._source.close()


def _fault(entry: Entry) -> str | None:
    if entry.flags & _ENCRYPTED:
        return "is encrypted; create the zip without a password"
    if entry.method not in _METHODS or entry.flags & _PATCH:
        return f"has the compression method {entry.method}, which is not supported; use store or deflate"
    return None


def _decompress(entry: Entry, packed: bytes) -> bytes:
    """Return the content, or one byte more than its declared size if there are more. zipfile has no such limit."""
    most = entry.size + 1
    if entry.method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    if entry.method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, most)
    if entry.method == zipfile.ZIP_LZMA:
        # In a .lzma file, the properties are followed by the size, and not preceded by a version and their length.
        size = 0xFFFFFFFFFFFFFFFF if entry.flags & _END_MARKER else entry.size
        alone = packed[4:9] + struct.pack("<Q", size) + packed[9:]
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY).decompress(alone, most)
    return packed
