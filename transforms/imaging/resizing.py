"""Resize images with the bicubic filter of Pillow, or with the same filter in SIMD instructions, six times as fast.

| resizer | pixels                                                                          | installed on           |
|---------|---------------------------------------------------------------------------------|------------------------|
| simd    | cykooz_resizer; 0.4 % of the values differ from Pillow's by 1, and 0.001 % by 2 | Linux on x86-64, macOS |
| pillow  | Pillow                                                                          | everywhere             |

The weights of cykooz_resizer have 16 bits, those of Pillow 22. The resizer is a part of the recipe.
"""

from __future__ import annotations

import importlib.util
import math

from PIL import Image

from transforms.errors import UsageError
from transforms.inference.spec import Resizer

_TALL = 100  # height / width from which Pillow begins with the columns

Box = tuple[float, float, float, float]
"""The left, upper, right and lower edge, in fractional pixels."""


def best() -> Resizer:
    """Return the fastest resizer that is installed here."""
    return "simd" if importlib.util.find_spec("cykooz_resizer") else "pillow"


def require(resizer: Resizer) -> None:
    """Raise UsageError if a resizer is not installed here."""
    if resizer == "simd" and best() != "simd":
        raise UsageError(
            "the recipe resizes images with cykooz_resizer, which is not installed on this machine; install it, or "
            "start with --resizer pillow, which is another recipe"
        )


def resize(
    image: Image.Image, size: tuple[int, int], box: Box | None = None, resizer: Resizer = "pillow"
) -> Image.Image:
    """Resize a part of an RGB image, by default all of it.

    Args:
        image: The image, in mode RGB.
        size: Width and height of the result.
        box: The part. The filter also reads the pixels around it.
        resizer: The code to use. Both can be called from several threads.
    """
    if resizer == "pillow":
        return image.resize(size, Image.Resampling.BICUBIC, box)
    width, height = size
    left, upper, right, lower = box or (0, 0, *image.size)
    # 8 bits are kept between the passes, and rows come first, except in tall images. One call would begin with columns.
    if image.height > _TALL * image.width and height < image.height:
        image = _pass(image, (image.width, height), (0, upper, image.width, lower))
        return _pass(image, size, (left, 0, right, height))
    image = _pass(image, (width, image.height), (left, 0, right, image.height))
    return _pass(image, size, (0, upper, width, lower))


def _pass(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer

    left, upper, right, lower = box
    crop = CropBox(left, upper, _extent(left, right, image.width), _extent(upper, lower, image.height))
    resized = Image.new("RGB", size, None)  # without initial pixels
    bicubic = ResizeAlg.convolution(FilterType.catmull_rom)  # with a = -0.5, as Pillow's
    Resizer().resize_pil(image, resized, ResizeOptions(bicubic, crop_box=crop, use_alpha=False))
    return resized


def _extent(start: float, end: float, limit: int) -> float:
    """Return the distance from ``start`` to ``end``, rounded so that their sum does not exceed ``limit``."""
    extent = end - start
    return math.nextafter(extent, 0.0) if start + extent > limit else extent
