"""Fetch, decode and fit one image for all its models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transforms import counts, defaults
from transforms.counts import Tally
from transforms.errors import ImageError, NotFound
from transforms.imaging import fetch, fit, opening, slots
from transforms.imaging.fetch import Fetched
from transforms.imaging.opening import OpenImage, Pixels, Stopwatch
from transforms.inference.spec import ModelSpec
from transforms.records import Failure, ImageRef, Work
from transforms.storage import web_access
from transforms.storage.web_access import Access


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum number of bytes in a file, of pixels in an image, and of seconds for a download; and allowed hosts."""

    max_bytes: int = defaults.MAX_BYTES
    max_pixels: int = defaults.MAX_PIXELS
    fetch_timeout: float = defaults.FETCH_TIMEOUT
    access: Access = field(default_factory=Access)


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
        origin: The value that the caller gave with the image.
        unanswered: Number of models without a result yet.
        refused: The failures of models that refuse the image, by the name of the table.
    """

    work: Work
    version: str
    sha256: str
    width: int
    height: int
    pixels: dict[str, Pixels]
    tally: Tally
    origin: Any = None
    unanswered: int = field(init=False)
    refused: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unanswered = len(self.pixels)


@dataclass(slots=True)
class Failed:
    """An image that cannot be processed, the counts and times of the attempt, and the caller's value."""

    failure: Failure
    tally: Tally
    origin: Any = None


def prepare(
    work: Work,
    specs: dict[str, ModelSpec],
    limits: Limits,
    fetch_image: Callable[[ImageRef, int, float], Fetched] = fetch.fetch,
    open_image: OpenImage = opening.open_image,
) -> Prepared | Failed:
    """Fetch, decode and fit one image for the tables in ``work``. ``specs`` has the models of all tables."""
    tally: Tally = Counter()
    stamp = Stopwatch(tally)
    try:
        with web_access.using(limits.access):
            fetched = fetch_image(work.ref, limits.max_bytes, limits.fetch_timeout)
        tally[counts.BYTES] += len(fetched.data)
        stamp("fetch")
        try:
            side = max(map(fit.min_side, (specs[table] for table in work.tables)))
            with slots.reserve(fetched.data, side):
                stamp("wait")
                opened = open_image(fetched.data, {table: specs[table] for table in work.tables}, limits.max_pixels)
        except ImageError as error:
            error.version = fetched.version
            raise
    except ImageError as error:
        # A manifest may name an image before it is uploaded. A listed version that is gone will not come back.
        error.retryable |= isinstance(error, NotFound) and work.ref.version is None
        stamp(error.stage)
        tally[counts.IMAGES] += 1
        return Failed(Failure.of(work, error), tally)
    tally.update(opened.tally)
    return Prepared(work, fetched.version, fetched.sha256, opened.width, opened.height, opened.pixels, tally)
