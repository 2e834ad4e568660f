"""An image of a night -> a small picture of it inside the page, where it can still be read as it was."""

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
from transforms.imaging import decode
from transforms.imaging.fetch import fetch
from transforms.prefetch import prefetch
from transforms.records import ImageRef

LARGE, SMALL = 320, 112  # pixels of the longer side: twice what a page shows, for dense screens
MAX_BYTES, MAX_PIXELS = 32 * 1024 * 1024, 50_000_000  # what is larger is left out: a page is not worth it

_THREADS = 8
_PATIENCE = 3  # images that a store does not give at all; then it is not asked for more


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """large, small: ``data:`` URIs of WebP pictures. width, height: of the large one, in pixels."""

    large: str
    small: str
    width: int
    height: int


@dataclass(slots=True)
class Thumbnails:
    """What could be shown so far, by URI and version, and why the rest could not, by the class of the error."""

    made: dict[tuple[str, str], Thumbnail] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    silent: int = 0  # images that a store did not give at all

    def get(self, image: Image) -> Thumbnail | None:
        """The thumbnail of an image that was looked for, if there is one."""
        return self.made.get(image.key)

    def look(self, images: Sequence[Image]) -> None:
        """Read the images that were not looked for yet."""
        wanted = {image.key: image for image in images if image.key not in self.made and image.key not in self.missing}
        work = partial(_thumbnail, off=self._off)
        for image, found in prefetch(wanted.values(), work, threads=_THREADS, window=_THREADS):
            if isinstance(found, Thumbnail):
                self.made[image.key] = found
            else:
                self.missing[image.key] = found
                self.silent += found in ("Unreadable", "NoCredentials")

    def reasons(self) -> Counter[str]:
        """How many images could not be shown, by the reason."""
        return Counter(self.missing.values())

    def _off(self) -> bool:
        return self.silent >= _PATIENCE


def _thumbnail(image: Image, off: Callable[[], bool]) -> tuple[Image, Thumbnail | str]:
    if off():
        return image, "not tried"
    try:
        fetched = fetch(ImageRef(image.uri, image.version), MAX_BYTES)
        if fetched.sha256 != image.sha256:
            raise Changed(f"{image.uri} holds other bytes than it did")
        pixels = decode.decode_image(fetched.data, min_side=LARGE, max_pixels=MAX_PIXELS).pixels
    except (ImageError, UsageError) as error:
        return image, type(error).__name__
    large, small = (_scaled(Pillow.fromarray(pixels), side) for side in (LARGE, SMALL))
    return image, Thumbnail(_data(large), _data(small), *large.size)


def _scaled(picture: Pillow.Image, side: int) -> Pillow.Image:
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    return picture


def _data(picture: Pillow.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "webp", quality=72, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
