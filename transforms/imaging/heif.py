"""Check how many bytes the metadata of a HEIC takes.

pillow-heif copies the metadata of all images of a file when it opens the file. Items can share the same bytes, and
images can share the same properties, so a file of 9 MB could ask for 5 GB.
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.errors import Corrupt

MAX_ITEMS, MAX_EXTENTS = 1000, 32  # libheif refuses more, of a file and of an item
PROPERTY_BYTES = 64 << 20  # that the properties of all images may take; real ones take some KB each


def check_items(data: bytes) -> None:
    """Raise ``Corrupt`` for a file whose items take more than twice the bytes of the file."""
    extents = properties = 0
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            items = min(data.count(b"infe", start, end), MAX_ITEMS)
            properties += items * sum(
                stop - begin for name, begin, stop in _boxes(data, start + 4, end) if name == b"iprp"
            )
            extents += sum(
                _extents(data[begin:stop], len(data))
                for name, begin, stop in _boxes(data, start + 4, end)
                if name == b"iloc"
            )
    if extents > 2 * len(data) or properties > PROPERTY_BYTES:
        taken = f"{extents + properties:,}"
        raise Corrupt(f"the items and properties of this HEIC take {taken} bytes, but the file has {len(data):,}")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each box, and the start and end of its content. Stops at a broken box."""
    while at + 8 <= end:
        size, kind, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:  # it extends to the end of the file
            size = end - at
        if size < header:
            return
        yield kind, at + header, min(at + size, end)
        at += size


def _extents(box: bytes, file_size: int) -> int:
    """Return the sum of the lengths of all extents in an ``iloc`` box; of a broken one, as far as it can be read.

    An extent behind the end of the file does not count, because libheif does not read it.
    """
    if len(box) < 8:
        return 0
    version, sizes, more_sizes = box[0], box[4], box[5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more_sizes >> 4
    index_size = more_sizes & 15 if version else 0
    head = {0: 4, 1: 6}.get(version, 8)  # bytes of an item before its base offset
    count, at = (int.from_bytes(box[6:8], "big"), 8) if version < 2 else (int.from_bytes(box[6:10], "big"), 10)

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(box[at - size : at], "big")

    total = 0
    for _ in range(min(count, MAX_ITEMS)):
        at += head
        base = number(base_size)
        for _ in range(min(number(2), MAX_EXTENTS)):
            at += index_size
            offset, length = number(offset_size), number(length_size)
            if base + offset + length <= file_size:
                total += length
    return total
