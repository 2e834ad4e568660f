"""Read the size of a GIF's first frame without Pillow."""

from __future__ import annotations

import struct

_EXTENSION, _IMAGE, _END = b"!,;"


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height of the canvas in pixels, enlarged to the first frame as Pillow does.

    Raises:
        struct.error: The file ends before the canvas.
    """
    width, height = struct.unpack_from("<2H", data, 6)
    frame = _first_frame(data)
    if frame + 9 <= len(data):
        left, top, across, down = struct.unpack_from("<4H", data, frame + 1)
        width, height = max(width, left + across), max(height, top + down)
    return width, height


def _first_frame(data: bytes) -> int:
    """Return the position of the first frame; the length of the file if there is none."""
    at, end = 13, len(data)
    if end > 10 and data[10] & 0x80:
        at += 3 << (data[10] & 7) + 1
    while at < end and data[at] not in (_IMAGE, _END):
        if data[at] == _EXTENSION:
            at += 2
            while at < end and data[at]:
                at += data[at] + 1
        at += 1
    return at if at < end and data[at] == _IMAGE else end
