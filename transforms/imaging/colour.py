"""A picture in any of Pillow's modes -> uint8 RGB in sRGB, as a person would see it on white paper.

Embedded ICC profiles are followed, transparency lies on white, 16 bits are scaled to 8. Pixels that have no agreed
range, floating-point or integers beyond 16 bits, are refused.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageChops, ImageCms, TiffImagePlugin

from transforms.errors import NotAnImage


def to_srgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode -> mode RGB, of the same size; of one that is RGB already, maybe itself.

    Raises ``NotAnImage`` where the pixels have no agreed range.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise NotAnImage("floating-point pixels have no agreed range; save the picture with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    # A profile speaks of colours alone: it comes before transparency meets the white of sRGB.
    image, alpha = _without_alpha(image)
    if profile and (transform := _transform(profile, image.mode)):
        mode = transform.input_mode
        image = transform.apply(image if image.mode == mode else image.convert(mode))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.paste("white", mask=ImageChops.invert(alpha))
    return image


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, of no palette and of 8 bits a channel, and the alpha channel if there is transparency."""
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        return image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    if image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGB"), None
    return image, None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits -> 8, value / 257 rounded, where Pillow would clip.

    Colours of 16 bits do not come here: Pillow reads their high bytes, the same within one level.
    """
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise NotAnImage(f"grey from {low:,} to {high:,} has no agreed range; save the picture with 8 or 16 bits")
    wide = values.astype(np.uint32)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
            wide *= 16
        # White is 0; Pillow knows it for 8 bits only.
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            np.subtract(65535, wide, out=wide)
    wide += 128
    wide //= 257
    grey = Image.fromarray(wide.astype(np.uint8))
    if isinstance(key := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


@functools.lru_cache(maxsize=16)  # a phone's pictures share one profile, and threads may share a transform
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Embedded profile -> the way to sRGB; None where there is none to go.

    That is so where it is sRGB, where it is made for other colours than the picture's, and where it is broken:
    better the picture in slightly other colours than a failure.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if (source.profile.profile_description or "").startswith("sRGB"):
            return None
        takes = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space)
        # A grey picture with an RGB profile is common, and right: grey is red = green = blue.
        if takes is None or (takes != mode and (takes, mode) != ("RGB", "L")):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), takes, "RGB")
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
