"""A seed -> a picture, drawn in code: for calibrating, probing, the demo, tests and benchmarks.

Whole numbers throughout, and the one generator of NumPy whose stream is frozen (NEP 19): a seed gives the same
pixels on every machine and with every version.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
SHAPES = 14


def draw(seed: int, width: int, height: int) -> Pixels:
    """Seed (0 to 2**32 - 1) -> uint8[height, width, 3], RGB: shapes before a sky of colours that run together.

    Shapes are ellipses and rectangles. They and the sky are plain, striped, chequered or grainy, coarse or fine.
    """
    random = np.random.RandomState(seed)
    picture = _sky(random, width, height)
    picture = _texture(random, picture)
    for _ in range(SHAPES):
        across, down = (1 + random.randint(side) * 3 // 5 for side in (width, height))
        left, top = random.randint(width - across + 1), random.randint(height - down + 1)
        part = picture[top : top + down, left : left + across]
        painted = _texture(random, np.broadcast_to(_colour(random), part.shape))
        if random.randint(3):
            np.copyto(part, painted, where=_ellipse(across, down)[..., None])
        else:
            part[:] = painted
    return picture


def encode(pixels: Pixels, format: str = "jpeg", **save_options: Any) -> bytes:  # noqa: A002 - Pillow's own word
    """uint8[h, w, 3] or [h, w] -> bytes of a file. Formats and options are those of Pillow's ``Image.save``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **save_options)
    return file.getvalue()


def _colour(random: np.random.RandomState) -> Pixels:
    return random.randint(0, 256, 3).astype(np.uint8)


def _sky(random: np.random.RandomState, width: int, height: int) -> Pixels:
    """Four colours, one a corner, and what lies between."""
    corners = random.randint(0, 256, (2, 2, 3)).astype(np.uint16)
    across = (np.arange(width) * 256 // width).astype(np.uint16)[:, None]
    down = (np.arange(height) * 256 // height).astype(np.uint16)[:, None]
    left, right = ((corners[0, side] * (256 - down) + corners[1, side] * down) >> 8 for side in (0, 1))
    sky = left[:, None] * (256 - across)
    sky += right[:, None] * across  # at most 255 * 256: fits 16 bits
    sky >>= 8
    return sky.astype(np.uint8)


def _ellipse(width: int, height: int) -> npt.NDArray[np.bool_]:
    """Where a box of this size is inside its ellipse: bool[height, width]."""
    across = (2 * np.arange(width, dtype=np.int64) + 1 - width) ** 2 * height**2
    down = (2 * np.arange(height, dtype=np.int64) + 1 - height) ** 2 * width**2
    inside: npt.NDArray[np.bool_] = across <= (width**2 * height**2 - down)[:, None]
    return inside


def _texture(random: np.random.RandomState, paint: Pixels) -> Pixels:
    """Paint, uint8[h, w, 3] -> the same paint plain, or with slanting stripes, chequers or grain in it."""
    height, width, _ = paint.shape
    kind, slant, period = random.randint(4), random.randint(-3, 4), 2 ** random.randint(1, 8)
    x, y = np.arange(width, dtype=np.int32), np.arange(height, dtype=np.int32)[:, None]
    if kind == 0:
        return np.array(paint)
    if kind == 1:
        dark = (x * 2 + y * slant) // period & 1
    elif kind == 2:
        dark = (x // period ^ y // period) & 1
    else:
        side = 256  # one patch of grain, laid again and again: quick, and as rough as a whole field of it
        grain = random.randint(0, 2, (side, side)).astype(np.int32)
        dark = grain[np.ix_(np.arange(height) % side, np.arange(width) % side)]
    strength = random.randint(1, 5)
    shade = (dark != 0)[..., None]
    return np.where(shade, paint >> strength, paint).astype(np.uint8)
