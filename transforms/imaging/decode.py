"""Decode an image file to upright RGB pixels, or raise an error that says why that is impossible.

The steps are: detect the format and check the header (``formats``), decode, convert to sRGB (``colour``), rotate.
Of several frames or pages, the first is used; of a HEIC, the primary image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms import defaults
from transforms.errors import Corrupt, DecodeError, EmptyFile, NotAnImage, TooLittleMemory, Truncated
from transforms.imaging import colour, formats, parsers

_ROTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright image in sRGB.

    Attributes:
        image: The image in mode RGB. It is smaller than the original if a JPEG was decoded at reduced size.
        width: Width of the original in pixels, after EXIF orientation.
        height: Height of the original in pixels, after EXIF orientation.
    """

    image: Image.Image
    width: int
    height: int

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return uint8[h, w, 3], RGB, read-only. It is a copy."""
        return np.asarray(self.image)


def decode_image(data: bytes, *, min_side: int | None = None, max_pixels: int = defaults.MAX_PIXELS) -> Decoded:
    """Decode a file to upright sRGB pixels. Transparent pixels are blended with white, and 16 bits are scaled to 8.

    Args:
        data: The file.
        min_side: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster, if its shorter side
            keeps at least this many pixels. None for the full size.
        max_pixels: Maximum number of pixels in the header. Nothing is allocated for a larger image.

    Raises:
        EmptyFile: There are no bytes.
        NotAnImage: The format is unknown or not supported.
        Truncated: The bytes end before the image does.
        Corrupt: The content is broken.
        TooManyPixels: The image is larger than ``max_pixels``, or needs too much memory for them.
        TooLittleMemory: The machine has too little memory at the moment.
    """
    if not data:
        raise EmptyFile("the file is empty")
    kind = formats.kind_of(data)
    if kind is None:
        raise NotAnImage(f"no supported image format starts with {data[:8]!r}")
    try:
        return _decode(data, kind, min_side, max_pixels)
    except DecodeError:
        raise
    except MemoryError as error:
        raise TooLittleMemory(
            f"the machine has too little free memory for this {kind}; use fewer threads or lower --max-pixels"
        ) from error
    except Exception as error:  # parsers raise almost any exception for broken bytes
        if formats.ends_early(data, kind, error):
            raise Truncated(f"this {kind} ends after {len(data):,} bytes, before its image is complete") from error
        raise Corrupt(f"this {kind} cannot be decoded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the reason that a parser gives. If that is only a code or a key, describe it."""
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
    image.load()
    if image.size != drafted:  # libheif detects some sizes only now
        size = image.size
        formats.check_size(size, kind, max_pixels)
    orientation = parsers.orientation(image)
    upright = colour.to_srgb(image)
    del image  # before there is one more copy
    return Decoded(rotate(upright, orientation), *(size if orientation < 5 else size[::-1]))


def rotate(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image upright, according to its EXIF orientation, 1 to 8."""
    return image.transpose(_ROTATIONS[orientation]) if orientation in _ROTATIONS else image
