"""Draw test images from a seed, for calibration, probes, the demo, tests and benchmarks.

The drawing uses integers only, and NumPy's one generator with a frozen stream (NEP 19). A seed gives the same pixels
on every machine and with every version.
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
    """Return an image of shapes in front of a colour gradient, uint8[height, width, 3] RGB.

    Shapes are ellipses and rectangles. Shapes and background are plain, striped, chequered or grainy, coarse or fine.

    Args:
        seed: 0 to 2**32 - 1.
        width: Width in pixels.
        height: Height in pixels.
    """
    random = np.random.RandomState(seed)
    image = _background(random, width, height)
    image = _texture(random, image)
    for _ in range(SHAPES):
        across, down = (1 + random.randint(side) * 3 // 5 for side in (width, height))
        left, top = random.randint(width - across + 1), random.randint(height - down + 1)
        part = image[top : top + down, left : left + across]
        painted = _texture(random, np.broadcast_to(_colour(random), part.shape))
        if random.randint(3):
            np.copyto(part, painted, where=_ellipse(across, down)[..., None])
        else:
            part[:] = painted
    return image


def encode(pixels: Pixels, format: str = "jpeg", **save_options: Any) -> bytes:  # noqa: A002 - Pillow's own word
    """Encode uint8[h, w, 3] or [h, w] as a file. Formats and options are those of Pillow's ``Image.save``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **save_options)
    return file.getvalue()


def _colour(random: np.random.RandomState) -> Pixels:
    return random.randint(0, 256, 3).astype(np.uint8)


def _background(random: np.random.RandomState, width: int, height: int) -> Pixels:
    """Return a gradient between four random colours in the corners."""
    corners = random.randint(0, 256, (2, 2, 3)).astype(np.uint16)
    across = (np.arange(width) * 256 // width).astype(np.uint16)[:, None]
    down = (np.arange(height) * 256 // height).astype(np.uint16)[:, None]
    left, right = ((corners[0, side] * (256 - down) + corners[1, side] * down) >> 8 for side in (0, 1))
    background = left[:, None] * (256 - across)
    background += right[:, None] * across  # at most 255 * 256, which fits in 16 bits
    background >>= 8
    return background.astype(np.uint8)


def _ellipse(width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return bool[height, width], true inside the ellipse that fills the box."""
    across = (2 * np.arange(width, dtype=np.int64) + 1 - width) ** 2 * height**2
    down = (2 * np.arange(height, dtype=np.int64) + 1 - height) ** 2 * width**2
    inside: npt.NDArray[np.bool_] = across <= (width**2 * height**2 - down)[:, None]
    return inside


def _texture(random: np.random.RandomState, paint: Pixels) -> Pixels:
    """Return uint8[h, w, 3] plain, or with slanted stripes, chequers or grain."""
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
        side = 256  # one patch of grain is repeated, which is fast and looks as rough
        grain = random.randint(0, 2, (side, side)).astype(np.int32)
        dark = grain[np.ix_(np.arange(height) % side, np.arange(width) % side)]
    strength = random.randint(1, 5)
    shade = (dark != 0)[..., None]
    return np.where(shade, paint >> strength, paint).astype(np.uint8)
