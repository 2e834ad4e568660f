"""Compute the weights of Pillow's bicubic filter along one axis, as integers."""

from __future__ import annotations

import functools
import math

import numpy as np

BITS = 22  # of a weight after the point, as in src/libImaging/Resample.c of Pillow
LOW_BITS = 11  # in the low part of a weight


class Taps:
    """The weights of one pass of a resize.

    The filter is stretched if the image shrinks, and cut off at the edges of the image. All operations on floats are
    those of Pillow in the same order, so that the weights are the same integers.

    Attributes:
        taps: Number of taps of an output pixel, even.
        starts: int32[size], the first tap of each output pixel.
        weights: int16[size, taps / 2, 2, 2], the high parts of two taps, then their low parts. Taps beyond the last
            pixel have the weight 0.
    """

    def __init__(self, low: float, high: float, size: int, count: int) -> None:
        """Compute the weights.

        Args:
            low: Left edge of the part of the image that is resized, in pixels.
            high: Right edge of this part.
            size: Number of output pixels.
            count: Number of pixels of the image.
        """
        begin, end = np.float32(low), np.float32(high)  # the type of a box in Pillow
        scale = float(end - begin) / size
        stretch = max(scale, 1.0)
        centres = float(begin) + (np.arange(size) + 0.5) * scale
        first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
        last = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), count)
        self.taps = 2 * math.ceil((last - first).max() / 2)
        at = first[:, None] + np.arange(self.taps)
        x = np.abs((at - centres[:, None] + 0.5) * (1.0 / stretch))
        near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
        values = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        values[at >= last[:, None]] = 0
        values /= np.cumsum(values, axis=1)[:, -1:]  # adds in the order of Pillow
        weights = np.trunc(values * (1 << BITS) + np.where(values < 0, -0.5, 0.5)).astype(np.int32)
        parts = np.stack([weights >> LOW_BITS, weights & (1 << LOW_BITS) - 1], axis=1).astype(np.int16)
        self.weights = np.ascontiguousarray(parts.reshape(size, 2, -1, 2).transpose(0, 2, 1, 3))
        self.starts = first.astype(np.int32)


taps_of = functools.lru_cache(maxsize=32)(Taps)  # images of one camera share their weights
