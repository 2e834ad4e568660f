"""Read the directory of a zip, which is at its end, in little memory.

``zipfile`` holds about 1 KB for each entry, and one name that is not valid ends it for all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from transforms.shards.source import Source

MAX_ENTRIES = 1_000_000
MAX_DIRECTORY = 256 << 20  # bytes

_END = struct.Struct("<4s4H2IH")  # the end record, with a comment of up to 64 KB behind it
_LOCATOR = struct.Struct("<4sIQI")  # of the end record of zip64, which stands before the end record
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")  # the header before the data of a member

_UTF8 = 0x800  # flag: the name is UTF-8, else it is in the code page 437


class Entry(NamedTuple):
    """A member.

    Attributes:
        name: The name. Bytes that are not UTF-8 are lone surrogates.
        flags: The flags, of which the first means encryption.
        method: The method of compression.
        crc: The CRC-32 of the content.
        packed: The number of bytes in the file.
        size: The number of bytes of the content.
        place: Where its local header starts.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    place: int


def entries(source: Source) -> Iterator[Entry]:
    """Yield the entries in the order of their places. Raises BrokenShard.

    Entries that overlap are refused: some megabytes of them could name terabytes.
    """
    start, end, count, shift = _find(source)
    directory = source.read_at(start, end - start)
    order = np.empty((count, 2), np.int64)  # the place of each member, and of its entry in the directory
    at = 0
    for number in range(count):
        fields, length = _fields(source, directory, at, start)
        order[number] = _entry(source, directory, at, start, shift, fields).place, at
        at += length
    if at < len(directory):
        raise source.broken(f"the directory has other bytes after its {count:,} entries", start + at)
    order = order[order[:, 0].argsort(kind="stable")]
    for number, at in enumerate(order[:, 1].tolist()):
        fields, _ = _fields(source, directory, at, start)
        entry = _entry(source, directory, at, start, shift, fields)
        following = int(order[number + 1, 0]) if number + 1 < count else start
        if entry.place + LOCAL.size + fields[10] + entry.packed > following:
            raise source.broken(f"{entry.name[:200]!a} overlaps what follows it", entry.place)
        yield entry


def _find(source: Source) -> tuple[int, int, int, int]:
    """Return where the directory starts and ends, the number of its entries, and how many bytes precede the zip."""
    tail_at = max(0, source.size - _END.size - 0xFFFF)
    tail = source.read_at(tail_at, source.size - tail_at)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise source.broken("the directory at the end is missing, so the file is incomplete", source.size)
    end = tail_at + at
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    locator = source.read_at(end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator.startswith(b"PK\6\7"):
        # The record stands before its locator. The place in the locator is wrong if bytes precede the zip.
        for place in (_LOCATOR.unpack(locator)[2], end - _LOCATOR.size - _END64.size):
            record = source.read_at(place, _END64.size) if place < source.size else b""
            if len(record) == _END64.size and record.startswith(b"PK\6\6"):
                *_, count, size, offset = _END64.unpack(record)
                end = place
                break
        else:
            raise source.broken("the end record of zip64 is missing", end)
    if count > MAX_ENTRIES or size > MAX_DIRECTORY:
        raise source.broken(
            f"the directory has {count:,} entries in {size:,} bytes, and at most {MAX_ENTRIES:,} in "
            f"{MAX_DIRECTORY:,} are read; split the file",
            end,
        )
    if size > end or offset > end - size or count * _ENTRY.size > size:
        raise source.broken(f"the end record names a directory of {size:,} bytes at byte {offset:,}", end)
    return end - size, end, count, end - size - offset


def _fields(source: Source, directory: bytes, at: int, start: int) -> tuple[tuple[Any, ...], int]:
    """Return the fields of the entry at a place of the directory, and its length."""
    if at + _ENTRY.size <= len(directory):
        fields = _ENTRY.unpack_from(directory, at)
        length = _ENTRY.size + sum(fields[10:13])
        if fields[0] == b"PK\1\2" and at + length <= len(directory):
            return fields, length
    raise source.broken("the directory has no valid entry", start + at)


def _entry(source: Source, directory: bytes, at: int, start: int, shift: int, fields: tuple[Any, ...]) -> Entry:
    _, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, _, _, _, _, place = fields
    name_at = at + _ENTRY.size
    extra_at = name_at + name_length
    if 0xFFFFFFFF in (size, packed, place):
        values = iter(_zip64(directory[extra_at : extra_at + extra_length]))
        size, packed, place = (next(values, value) if value == 0xFFFFFFFF else value for value in (size, packed, place))
    if place + shift >= start:
        raise source.broken("the directory names a member that is not before it", start + at)
    name = directory[name_at:extra_at]
    text = name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")
    return Entry(text, flags, method, crc, packed, size, place + shift)


def _zip64(extra: bytes) -> tuple[int, ...]:
    """Return the 64-bit numbers in the extra field of an entry."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == 1:
            count = min(length, len(extra) - at) // 8
            return struct.unpack_from(f"<{count}Q", extra, at)
        at += length
    return ()
