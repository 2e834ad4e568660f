"""Fetch, decode and fit one image for all its models."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from transforms import counts, defaults
from transforms.counts import Tally
from transforms.errors import ImageError
from transforms.imaging import decode, fetch, fit, slots
from transforms.inference.spec import ModelSpec
from transforms.records import Failure, Work

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum number of bytes in a file and of pixels in an image."""

    max_bytes: int = defaults.MAX_BYTES
    max_pixels: int = defaults.MAX_PIXELS


@dataclass(slots=True)
class Prepared:
    """An image that is ready for its models.

    Attributes:
        work: The image and the tables that lack it.
        version: The version of the bytes.
        sha256: 64 hex digits over the bytes.
        width: Width of the image in pixels, after EXIF orientation.
        height: Height of the image in pixels, after EXIF orientation.
        pixels: uint8[size, size, 3] RGB by the name of the table. A model removes its pixels when it starts.
        tally: Counts and times of the preparation.
        unanswered: Number of models without a result yet.
    """

    work: Work
    version: str
    sha256: str
    width: int
    height: int
    pixels: dict[str, Pixels]
    tally: Tally
    unanswered: int = field(init=False)

    def __post_init__(self) -> None:
        self.unanswered = len(self.pixels)


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that cannot be processed, and the counts and times of the attempt."""

    failure: Failure
    tally: Tally


def prepare(work: Work, specs: dict[str, ModelSpec], limits: Limits) -> Prepared | Failed:
    """Fetch, decode and fit one image for the tables in ``work``. ``specs`` has the models of all tables."""
    tally: Tally = Counter()
    stamp = _Stopwatch(tally)
    try:
        fetched = fetch.fetch(work.ref, limits.max_bytes)
        tally[counts.BYTES] += len(fetched.data)
        stamp("fetch")
        try:
            side = max(map(fit.min_side, (specs[table] for table in work.tables)))
            with slots.reserve(fetched.data, side):
                stamp("wait")
                return _pixels(work, fetched, {table: specs[table] for table in work.tables}, limits, stamp)
        except ImageError as error:
            error.version = fetched.version
            raise
    except ImageError as error:
        stamp(error.stage)
        tally[counts.IMAGES] += 1
        return Failed(Failure.of(work, error), tally)


def _pixels(
    work: Work, fetched: fetch.Fetched, specs: dict[str, ModelSpec], limits: Limits, stamp: _Stopwatch
) -> Prepared:
    """Decode once for all models that can share a decode, and fit once for all models with the same input."""
    decoded: dict[int, decode.Decoded] = {}
    fitted: dict[str, Pixels] = {}
    pixels: dict[str, Pixels] = {}
    for table, spec in specs.items():
        side = fit.min_side(spec)
        if side not in decoded:
            decoded[side] = decode.decode_image(fetched.data, min_side=side, max_pixels=limits.max_pixels)
            stamp("decode")
        crop = f"{spec.crop} {spec.size}"
        if crop not in fitted:
            fitted[crop] = fit.fit_image(decoded[side].image, spec)
            stamp("fit")
        pixels[table] = fitted[crop]
    image = next(iter(decoded.values()))
    return Prepared(work, fetched.version, fetched.sha256, image.width, image.height, pixels, stamp.tally)


class _Stopwatch:
    """Adds the time since the last call to the sum of a step."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._since = time.perf_counter_ns()

    def __call__(self, step: str) -> None:
        now = time.perf_counter_ns()
        self.tally[counts.key(counts.NANOSECONDS, step)] += now - self._since
        self._since = now
