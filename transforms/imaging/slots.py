"""Bound how many images are at full size in memory at the same time, over all threads of the process.

A large image waits for other large images before it takes a slot, so that small images go on meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import struct
import threading
from collections.abc import Iterator

from transforms import machine
from transforms.imaging import formats, gif, jpeg2000, tiff

LARGE = 24_000_000  # pixels; of larger images, only one is in memory
_SLOT_BYTES = 1 << 30  # of memory for each slot: models and other images need the rest

_one_large = threading.RLock()
# Fetching mostly waits, so many threads fetch. Decoding computes: more concurrent decodes than cores would only hold
# more images at full size in memory.
_slots = threading.BoundedSemaphore(max(1, min(machine.cores(), machine.memory() // _SLOT_BYTES)))


@contextlib.contextmanager
def reserve(data: bytes, min_side: int | None = None) -> Iterator[None]:
    """Wait until a file may be opened and decoded, and hold its place until the end of the block.

    Args:
        data: The file. Its size in pixels is read from its header.
        min_side: As for ``decode.decode_image``, which decodes a large JPEG at reduced size.
    """
    with _one_large if pixels_in_memory(data, min_side) > LARGE else contextlib.nullcontext(), _slots:
        yield


def pixels_in_memory(data: bytes, min_side: int | None = None) -> int:
    """Return the number of pixels that decoding holds, according to the header; 0 if it cannot be read."""
    kind = formats.kind_of(data)
    with contextlib.suppress(struct.error, OverflowError, IndexError):
        if kind == "JPEG":
            return _jpeg(data, min_side)
        return math.prod(_size(data, kind))
    return 0


def _size(data: bytes, kind: str | None) -> tuple[int, int]:
    match kind:
        case "PNG":
            return struct.unpack_from(">2I", data, 16)
        case "GIF":
            return gif.size(data)
        case "BMP":
            width, height = struct.unpack_from("<2i", data, 18)
            return abs(width), abs(height)
        case "TIFF":
            return tiff.declared_size(data)
        case "JPEG 2000":
            return jpeg2000.canvas(data)
        case "WebP":
            return _webp(data)
        case "HEIC" | "AVIF":
            return _largest_extent(data)
    return 0, 0


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<2H", data, 26))
    return width, height


def _largest_extent(data: bytes) -> tuple[int, int]:
    """Return the largest of the sizes that the items of a HEIC or AVIF declare."""
    largest, at = (0, 0), data.find(b"ispe")
    while 0 <= at <= len(data) - 16:
        largest = max(largest, struct.unpack_from(">2I", data, at + 8), key=math.prod)
        at = data.find(b"ispe", at + 4)
    return largest


def _jpeg(data: bytes, min_side: int | None) -> int:
    for code, at in formats.jpeg_segments(data):
        if code in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack_from(">2H", data, at + 3)
            # A progressive JPEG needs memory for the coefficients of the full size before it is scaled.
            scale = 1 if code == 0xC2 or not min_side else max(1, min(8, min(width, height) // min_side))
            return int(width * height // (1 << scale.bit_length() - 1) ** 2)
    return 0
