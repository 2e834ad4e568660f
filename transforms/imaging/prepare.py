"""ImageRef -> the pixels that each model takes: fetch, decode, fit."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from transforms import counts, defaults
from transforms.counts import Tally
from transforms.errors import ImageError
from transforms.imaging import decode, fetch, fit
from transforms.inference.spec import ModelSpec
from transforms.records import Failure, Work

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused: files of more bytes, pictures of more pixels."""

    max_bytes: int = defaults.MAX_BYTES
    max_pixels: int = defaults.MAX_PIXELS


@dataclass(slots=True)
class Prepared:
    """An image that is ready for its models.

    pixels: uint8[size, size, 3] RGB by the name of the table that it is for; a model that has taken its pixels
    removes them. unanswered: how many models have not done it yet. width, height: of the picture, in pixels, after EXIF
    orientation.
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
    """An image that cannot be done, and what was spent on it."""

    failure: Failure
    tally: Tally


# Fetching waits and may run in many threads; decoding computes, and more of it at once than there are cores would only
# hold more pictures at their full size.
_DECODING = threading.BoundedSemaphore(os.cpu_count() or 1)


def prepare(work: Work, specs: dict[str, ModelSpec], limits: Limits) -> Prepared | Failed:
    """Do one image up to the models. ``specs`` are those of all tables, of which ``work`` names those that lack it."""
    tally: Tally = Counter()
    stamp = _Stopwatch(tally)
    try:
        fetched = fetch.fetch(work.ref, limits.max_bytes)
        tally[counts.BYTES] += len(fetched.data)
        stamp("fetch")
        try:
            with _DECODING:
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
    """Decode once for all models that can share it, fit once for all that take the same."""
    decoded: dict[int, decode.Decoded] = {}
    fitted: dict[str, Pixels] = {}
    pixels: dict[str, Pixels] = {}
    for table, spec in specs.items():
        side = fit.min_side(spec)
        if side not in decoded:
            decoded[side] = decode.decode_image(fetched.data, min_side=side, max_pixels=limits.max_pixels)
            stamp("decode")
        way = f"{spec.crop} {spec.size}"
        if way not in fitted:
            fitted[way] = fit.fit_image(decoded[side].image, spec)
            stamp("fit")
        pixels[table] = fitted[way]
    picture = next(iter(decoded.values()))
    return Prepared(work, fetched.version, fetched.sha256, picture.width, picture.height, pixels, stamp.tally)


class _Stopwatch:
    """``stamp(step)`` adds the time since the last stamp to the step's sum."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._since = time.perf_counter_ns()

    def __call__(self, step: str) -> None:
        now = time.perf_counter_ns()
        self.tally[counts.key(counts.NANOSECONDS, step)] += now - self._since
        self._since = now
