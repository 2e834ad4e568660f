"""Thumbnails inside the page, for images that have not changed since they were processed."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from PIL import Image as Pillow

from beamsight.reports.vectors import Image
from transforms.errors import Changed, ImageError, UsageError
from transforms.imaging import decode, slots
from transforms.imaging.fetch import fetch
from transforms.prefetch import prefetch
from transforms.records import ImageRef

LARGE, SMALL = 320, 112  # longer side in pixels: twice the size on the page, for high-density screens
MAX_BYTES, MAX_PIXELS = 32 * 1024 * 1024, 50_000_000  # Larger images have no thumbnail, to save memory.

_THREADS = 8
_MAX_UNREACHABLE = 3  # After this number of unreachable images, no more are requested.


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image in two sizes, as ``data:`` URIs of WebP files. width, height: pixels of the large one."""

    large: str
    small: str
    width: int
    height: int


@dataclass(slots=True)
class Thumbnails:
    """A cache of thumbnails.

    Attributes:
        loaded: Thumbnails by URI and version.
        missing: Error classes by URI and version, for images without a thumbnail.
        unreachable: Images that could not be requested or downloaded.
    """

    loaded: dict[tuple[str, str], Thumbnail] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    unreachable: int = 0

    def get(self, image: Image) -> Thumbnail | None:
        """Return the thumbnail of an image; None if it could not be loaded."""
        return self.loaded.get(image.key)

    def load(self, images: Sequence[Image]) -> None:
        """Read the images that are not in the cache."""
        known = self.loaded.keys() | self.missing.keys()
        wanted = {image.key: image for image in images if image.key not in known}
        work = partial(_thumbnail, gave_up=self._gave_up)
        for image, result in prefetch(wanted.values(), work, threads=_THREADS, window=_THREADS):
            if isinstance(result, Thumbnail):
                self.loaded[image.key] = result
            else:
                self.missing[image.key] = result
                self.unreachable += result in ("Unreadable", "NoCredentials")

    def reasons(self) -> Counter[str]:
        """Return the number of images without a thumbnail, by error class."""
        return Counter(self.missing.values())

    def _gave_up(self) -> bool:
        return self.unreachable >= _MAX_UNREACHABLE


def _thumbnail(image: Image, gave_up: Callable[[], bool]) -> tuple[Image, Thumbnail | str]:
    if gave_up():
        return image, "not tried"
    try:
        fetched = fetch(ImageRef(image.uri, image.version), MAX_BYTES)
        if fetched.sha256 != image.sha256:
            raise Changed(f"the contents of {image.uri} have changed")
        with slots.reserve(fetched.data, LARGE):
            pixels = decode.decode_image(fetched.data, min_side=LARGE, max_pixels=MAX_PIXELS).pixels
    except (ImageError, UsageError) as error:
        return image, type(error).__name__
    large, small = (_scale(Pillow.fromarray(pixels), side) for side in (LARGE, SMALL))
    return image, Thumbnail(_data(large), _data(small), *large.size)


def _scale(image: Pillow.Image, side: int) -> Pillow.Image:
    image.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    return image


def _data(image: Pillow.Image) -> str:
    file = io.BytesIO()
    image.save(file, "webp", quality=72, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
