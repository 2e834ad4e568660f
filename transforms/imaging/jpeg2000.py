"""Estimate the memory that OpenJPEG needs for a codestream, from its markers.

A header of 100 bytes can ask for gigabytes: of pixels, and of structures for each tile, precinct and code-block.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

SIZE, CODING, COMPONENT_CODING, TILE, DATA = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93

# Bytes, measured with OpenJPEG 2.5.
_BLOCK = 400
_TILE_COMPONENT, _RESOLUTION = 1200, 400


def canvas(data: bytes) -> tuple[int, int]:
    """Return width and height of the codestream in pixels; zeros if there is none."""
    at = data.find(b"\xff\x4f\xff\x51")
    if not 0 <= at <= len(data) - 24:
        return 0, 0
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    return max(0, right - left), max(0, bottom - top)


def memory(data: bytes) -> int:
    """Return an estimate of the bytes that decoding takes; 0 if the markers cannot be read."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return 0
    try:
        width, height = canvas(data)
        tile_width, tile_height = struct.unpack_from(">2I", data, start + 24)
        (components,) = struct.unpack_from(">H", data, start + 40)
        area, levels = _smallest_block(data, start + 2)
    except (struct.error, IndexError):
        return 0
    if not (width and height and tile_width and tile_height):
        return 0
    tiles = math.ceil(width / tile_width) * math.ceil(height / tile_height)
    tile_pixels = min(width, tile_width) * min(height, tile_height)
    # OpenJPEG describes all code-blocks of one tile at a time, of all resolutions.
    blocks = components * tile_pixels * 4 // (3 * area)
    structures = _BLOCK * blocks + tiles * components * (_TILE_COMPONENT + _RESOLUTION * (levels + 1))
    return 4 * width * height + 5 * components * tile_pixels + structures


def _smallest_block(data: bytes, at: int) -> tuple[int, int]:
    """Return the pixels of the smallest code-block or precinct, and the largest number of levels."""
    area, levels = 1 << 12, 0
    for marker, body in _segments(data, at):
        if marker == CODING and len(body) >= 10:
            flags, parameters = body[0], body[5:]
        elif marker == COMPONENT_CODING and len(body) >= 7:
            # The index of the component takes one byte where there are fewer than 257 of them.
            flags, parameters = body[1], body[2:]
        else:
            continue
        levels = max(levels, parameters[0])
        area = min(area, 1 << (parameters[1] & 15) + (parameters[2] & 15) + 4)
        if flags & 1:
            area = min([area, *(1 << (size & 15) + (size >> 4) for size in parameters[5:])])
    return area, min(levels, 32)


def _segments(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment in the main header and in the headers of tiles."""
    end = 0
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">2H", data, at)
        if marker == DATA:
            if end <= at:
                return
            at = end
            continue
        if marker < 0xFF00 or length < 2:
            return
        if marker == TILE and length == 10:
            (size,) = struct.unpack_from(">I", data, at + 6)
            end = at + size
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length
