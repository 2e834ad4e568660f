"""bytes -> uint8 RGB: the picture as a person would see it, or one error that says why there is none.

The order of steps: tell the format and check the header (``formats``), decode, go over to sRGB (``colour``), turn
upright. Of several frames or pages the first counts, of a HEIC the primary one.
"""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from transforms import defaults
from transforms.errors import Corrupt, DecodeError, EmptyFile, NotAnImage, TooManyPixels, Truncated
from transforms.imaging import colour, formats

LARGE = 24_000_000  # pixels; above, one picture is decoded at a time: threads must not multiply the memory

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, upright and in sRGB.

    image: RGB; smaller than the picture where a JPEG was decoded scaled.
    width, height: of the picture itself, in pixels, after EXIF orientation.
    """

    image: Image.Image
    width: int
    height: int

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8[h, w, 3], RGB, read-only: a copy, which fitting does without."""
        return np.asarray(self.image)


def decode_image(data: bytes, *, min_side: int | None = None, max_pixels: int = defaults.MAX_PIXELS) -> Decoded:
    """File -> upright sRGB pixels, transparency on white, 16 bits scaled to 8.

    min_side: a JPEG is decoded at 1/2, 1/4 or 1/8, several times faster, where its shorter side keeps at least
    this many pixels; None for full size.
    max_pixels: the most that a header may declare; for more, nothing is allocated.

    Raises ``EmptyFile``, ``NotAnImage``, ``Truncated``, ``Corrupt`` or ``TooManyPixels``, and nothing else.
    """
    if not data:
        raise EmptyFile("the file holds no bytes")
    kind = formats.kind_of(data)
    if kind is None:
        raise NotAnImage(f"no image format that can be read starts with {data[:8]!r}")
    try:
        return _decode(data, kind, min_side, max_pixels)
    except DecodeError:
        raise
    except MemoryError as error:
        raise TooManyPixels(f"this {kind} takes more memory than there is; lower --max-pixels") from error
    except Exception as error:  # broken bytes make the parsers raise nearly anything
        if formats.ends_early(data, kind, error):
            raise Truncated(f"this {kind} ends after {len(data):,} bytes, before the picture does") from error
        raise Corrupt(f"this {kind} cannot be decoded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what a parser says of broken bytes, in words where it raises a bare code or key."""
    text = str(error)
    if text.startswith("decoder error"):  # libtiff's reason does not reach Pillow
        return "its compressed pixels are broken"
    return text if " " in text else repr(error.__cause__ or error)


def _decode(data: bytes, kind: str, min_side: int | None, max_pixels: int) -> Decoded:
    image = formats.open_image(data, kind, max_pixels)
    size = image.size
    if kind == "JPEG" and min_side is not None:
        image.draft(None, (min_side, min_side))
    drafted = image.size
    # A progressive JPEG is held as coefficients, and these at full size, before it is scaled.
    held = math.prod(size if image.info.get("progressive") else drafted)
    with _one_large if held > LARGE else contextlib.nullcontext():
        image.load()
        if image.size != drafted:  # libheif finds some sizes out only now
            size = image.size
            formats.check_size(size, kind, max_pixels)
        orientation = _orientation(image)
        upright = colour.to_srgb(image)
        if orientation in _TURNS:
            upright = upright.transpose(_TURNS[orientation])
        return Decoded(upright, *(size if orientation < 5 else size[::-1]))


def _orientation(image: Image.Image) -> int:
    """1 to 8, as in EXIF. TIFF and HEIC were turned by their parsers, and say 1 by now."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata: better the picture as it lies than none
        return 1
    return orientation if orientation in _TURNS else 1
