"""Images of any kind -> pixels: paths, URIs, bytes of files, Pillow images, arrays."""

from __future__ import annotations

import os
import threading
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms import defaults
from transforms.errors import Corrupt, UsageError
from transforms.imaging import colour, fit, parsers, slots
from transforms.imaging import decode as decoding
from transforms.inference.engine import Pixels
from transforms.inference.spec import ModelSpec
from transforms.storage import files

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"

_loading = threading.Lock()


def decode(data: bytes, *, max_pixels: int = defaults.MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file, as a run does.

    Args:
        data: The file, in any format that Pillow or libheif reads.
        max_pixels: The most pixels that the file's header may declare.

    Returns:
        uint8[height, width, 3], RGB in sRGB, upright after EXIF orientation, with transparency on white.

    Raises:
        DecodeError: The bytes are not an image that can be used.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> import beamsight
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (3, 2), "red").save(file, "png")
        >>> beamsight.decode(file.getvalue()).shape
        (2, 3, 3)
    """
    with slots.reserve(data):
        return decoding.decode_image(data, max_pixels=max_pixels).pixels


def fit_image(image: ImageLike, spec: ModelSpec) -> Pixels:
    """Return an image of any kind as its model takes it: uint8[size, size, 3], RGB.

    Raises:
        ImageError: It cannot be read or decoded.
        UsageError: It is of no kind that can be an image.
    """
    return fit.fit_image(_open(image, spec), spec)


def _open(image: ImageLike, spec: ModelSpec) -> Image.Image:
    """Return an image as upright sRGB pixels."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UsageError(f"an array of {describe(image)} is not uint8[height, width, 3]")
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return _convert(image)
    if isinstance(image, str | os.PathLike):
        place = files.absolute(os.fspath(image))
        image, _ = files.read(place, max_bytes=defaults.MAX_BYTES, timeout=defaults.FETCH_TIMEOUT)
    if not isinstance(image, bytes):
        raise UsageError(f"{type(image).__name__} is not an image; give a path, bytes, a Pillow image, or an array")
    side = fit.min_side(spec)
    with slots.reserve(image, side):
        return decoding.decode_image(image, min_side=side).image


def _convert(image: Image.Image) -> Image.Image:
    """Return a Pillow image as ``decode_image`` returns the file that it was read from."""
    if not image.width or not image.height:
        raise UsageError(f"a Pillow image of {image.width} x {image.height} pixels has no pixels")
    try:
        with _loading:  # the list of images may name one image twice, and two threads must not load it at once
            image.load()
    except Exception as error:  # parsers raise almost any exception for broken bytes
        raise Corrupt(f"this {image.format or 'image'} cannot be decoded: {error}") from error
    return decoding.rotate(colour.to_srgb(image), parsers.orientation(image))


def require_several(images: object) -> None:
    """Raise UsageError for one image, whose characters, bytes or rows would be taken for images."""
    if isinstance(images, np.ndarray):
        kind = f"an array of {describe(images)}" if 1 < images.ndim < 4 else ""  # one with fewer may hold paths
    else:
        kind = f"a {type(images).__name__}" if isinstance(images, str | bytes | os.PathLike | Image.Image) else ""
    if kind:
        raise UsageError(f"{kind} is one image; pass a list of images, such as [image]")


def describe(array: npt.NDArray[np.generic]) -> str:
    """Return the type and shape of an array, such as ``uint8[2, 3]``."""
    return f"{array.dtype}{list(array.shape)}"
