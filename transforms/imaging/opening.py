"""Open an image for all its models: bytes -> pixels. The child process of ``isolated`` needs nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms import counts
from transforms.counts import Tally
from transforms.imaging import decode, fit
from transforms.inference.spec import ModelSpec

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Opened:
    """An image that was decoded and fitted.

    Attributes:
        width: Width of the image in pixels, after EXIF orientation.
        height: Height of the image in pixels, after EXIF orientation.
        pixels: uint8[size, size, 3] RGB by the name of the table.
        tally: Times of the steps.
    """

    width: int
    height: int
    pixels: dict[str, Pixels]
    tally: Tally


OpenImage = Callable[[bytes, dict[str, ModelSpec], int], Opened]


def open_image(data: bytes, specs: dict[str, ModelSpec], max_pixels: int) -> Opened:
    """Decode once for all models that can share a decode, and fit once for all models with the same input.

    Raises:
        DecodeError: The bytes cannot be decoded.
    """
    stamp = Stopwatch(Counter())
    decoded: dict[int, decode.Decoded] = {}
    fitted: dict[str, Pixels] = {}
    pixels: dict[str, Pixels] = {}
    for table, spec in specs.items():
        side = fit.min_side(spec)
        if side not in decoded:
            decoded[side] = decode.decode_image(data, min_side=side, max_pixels=max_pixels)
            stamp("decode")
        crop = f"{spec.crop} {spec.size} {spec.resizer}"
        if crop not in fitted:
            fitted[crop] = fit.fit_image(decoded[side].image, spec)
            stamp("fit")
        pixels[table] = fitted[crop]
    image = next(iter(decoded.values()))
    return Opened(image.width, image.height, pixels, stamp.tally)


class Stopwatch:
    """Adds the time since the last call to the sum of a step."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._since = time.perf_counter_ns()

    def __call__(self, step: str) -> None:
        now = time.perf_counter_ns()
        self.tally[counts.key(counts.NANOSECONDS, step)] += now - self._since
        self._since = now
