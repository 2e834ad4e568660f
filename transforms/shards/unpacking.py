"""Decompress a shard that is compressed with gzip to a temporary file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from transforms.shards.source import Source
from transforms.storage.base import spool

MAGIC = b"\x1f\x8b"
BOMB_BYTES = 1 << 30  # a shard of fewer bytes may have any ratio
BOMB_RATIO = 100  # bytes for a compressed byte: images do not compress, and deflate reaches 1,000

_PIECE = 1 << 20  # bytes


def unpack(packed: Source) -> Source:
    """Return the decompressed bytes of a shard. Closes ``packed``.

    If the stream is broken, these are the bytes before the fault, and the result raises BrokenShard at their end.
    """
    stream = _Stream(packed)
    file = spool(packed.stat, stream.pieces(), in_memory=-1)  # the size of the result is not known
    packed.close()
    return Source(packed.stat, file, stream.fault)


class _Stream:
    """A gzip stream of one or more members.

    Attributes:
        fault: Why the stream ended early.
    """

    def __init__(self, packed: Source) -> None:
        self._packed = packed
        self._place = 0  # of the next compressed byte to read
        self._unused = b""
        self._count = 0  # decompressed bytes
        self.fault: str | None = None

    def pieces(self) -> Iterator[bytes]:
        while self.fault is None:
            yield from self._member()
            if self.fault is not None or not self._fill():
                return
            if not self._unused.startswith(MAGIC):
                self._skip_zeros()
                return

    def _member(self) -> Iterator[bytes]:
        member = zlib.decompressobj(wbits=31)  # with a gzip header, and the checksum is verified
        while not member.eof:
            if not self._fill():
                yield member.flush()
                self._fail("ends early")
                return
            try:
                piece = member.decompress(self._unused, _PIECE)
            except zlib.error as error:
                self._fail(f"is damaged ({error})")
                return
            self._unused = member.unused_data if member.eof else member.unconsumed_tail
            self._count += len(piece)
            if self._count > max(BOMB_BYTES, BOMB_RATIO * self._read()):
                self._fail(f"has {self._count:,} bytes after decompression, more than {BOMB_RATIO} times its size")
                return
            if piece:
                yield piece

    def _skip_zeros(self) -> None:
        while self._fill():
            if self._unused.strip(b"\0"):
                self._fail("is followed by other bytes")
                return
            self._unused = b""

    def _fill(self) -> bool:
        """Return whether there are compressed bytes left. At least two are ready if there are two."""
        if len(self._unused) < 2:
            data = self._packed.read_at(self._place, _PIECE)
            self._place += len(data)
            self._unused += data
        return bool(self._unused)

    def _read(self) -> int:
        return self._place - len(self._unused)

    def _fail(self, reason: str) -> None:
        self.fault = f"the gzip stream {reason}, at byte {self._read():,} of {self._packed.size:,}"
