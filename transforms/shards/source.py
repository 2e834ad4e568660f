"""The bytes of a shard on the local disk, which several threads read at once."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import BinaryIO

from transforms.errors import BrokenShard, Changed
from transforms.storage.base import Stat
from transforms.storage.local_errors import reading


class Source:
    """A seekable file without compression.

    Args:
        stat: The shard, as it is stored.
        file: Its bytes, in memory or on the disk.
        fault: Why the bytes end before those of the shard do. None if they are complete.

    Attributes:
        uri: The URI of the shard.
        stat: The shard.
        file: The file. Only one thread may use its position.
        size: The number of bytes.
    """

    def __init__(self, stat: Stat, file: BinaryIO, fault: str | None = None) -> None:
        self.uri = stat.uri
        self.stat = stat
        self.file = file
        self._memory = file.getbuffer() if isinstance(file, io.BytesIO) else None
        self._state = None if self._memory is not None else self._now()
        self.size = len(self._memory) if self._memory is not None else self._now()[0]
        self._fault = fault

    def read_at(self, place: int, count: int) -> bytes:
        """Return ``count`` bytes from a place, or fewer at the end of the file. Thread-safe.

        Raises:
            Changed: The file was overwritten after it was opened.
            Unreadable: The disk fails.
        """
        if self._memory is not None:
            return bytes(self._memory[place : place + count])
        parts = []
        with reading(self.uri):
            while count > 0 and (part := os.pread(self.file.fileno(), min(count, 1 << 30), place)):
                parts.append(part)
                place += len(part)
                count -= len(part)
        self._check_unchanged()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def broken(self, reason: str, place: int) -> BrokenShard:
        """Return the error for a shard that cannot be read at a place."""
        reason = self._fault or f"{reason}, at byte {place:,} of {self.size:,}"
        return BrokenShard(f"{self.uri}: {reason}; create the file again", version=self.stat.version)

    def check_end(self) -> None:
        """Raise BrokenShard if the bytes end before those of the shard do, or Changed if they are others by now."""
        self._check_unchanged()
        if self._fault is not None:
            raise self.broken(self._fault, self.size)

    def close(self) -> None:
        """Close the file, which deletes it if it is temporary."""
        if self._memory is not None:
            self._memory.release()
            self._memory = memoryview(b"")
        self.file.close()

    def __del__(self) -> None:
        with suppress(AttributeError, BufferError):  # the constructor failed, or the interpreter ends
            self.close()

    def _check_unchanged(self) -> None:
        if self._state is not None and self._now() != self._state:
            raise Changed(f"{self.uri} was overwritten while it was read", version=self.stat.version)

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self.file.fileno())
        return status.st_size, status.st_mtime_ns
