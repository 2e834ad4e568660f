"""Convert an image of any Pillow mode to RGB in sRGB.

Embedded ICC profiles are applied, transparent pixels are blended with white, and 16 bits are scaled to 8. Pixels
without a standard range, such as floats and integers of more than 16 bits, are refused.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageChops, ImageCms, TiffImagePlugin

from transforms.errors import NotAnImage

BAND = 4_000_000  # pixels of a transparent image that are converted at a time


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode in mode RGB, with the same size. The result may be the image itself.

    Raises:
        NotAnImage: The pixels have no standard range.
    """
    if image.has_transparency_data and not image.mode.startswith("I") and image.width * image.height > BAND:
        return _by_bands(image)
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise NotAnImage("floating-point pixels have no standard range; save the image with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    # The profile applies to colours only, so it is applied before they are blended with the white of sRGB.
    image, alpha = _without_alpha(image)
    if profile and (transform := _transform(profile, image.mode)):
        mode = transform.input_mode
        image = transform.apply(image if image.mode == mode else image.convert(mode))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.paste("white", mask=ImageChops.invert(alpha))
    return image


def _by_bands(image: Image.Image) -> Image.Image:
    """Convert some rows at a time, because the colours and the alpha channel are copies of the image."""
    converted = Image.new("RGB", image.size)
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        converted.paste(to_srgb(image.crop(box)), box)
    return converted


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours without a palette and with 8 bits a channel, and the alpha channel if there is one."""
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        return image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    if image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGB"), None
    return image, None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, as value / 257 rounded. Pillow would clip it.

    Pillow reads 16-bit colours as their high bytes, which is the same within one level.
    """
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise NotAnImage(f"grey from {low:,} to {high:,} has no standard range; save the image with 8 or 16 bits")
    wide = values.astype(np.uint32)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
            wide *= 16
        # White is 0. Pillow inverts 8-bit pixels only.
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            np.subtract(65535, wide, out=wide)
    wide += 128
    wide //= 257
    grey = Image.fromarray(wide.astype(np.uint8))
    if isinstance(key := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


@functools.lru_cache(maxsize=16)  # images of one phone share a profile, and threads can share a transform
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an embedded profile to sRGB, or None if the profile is not applied.

    That is the case for sRGB itself, for a profile of other channels than the image's, and for a broken profile:
    slightly wrong colours are better than a failure.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if (source.profile.profile_description or "").startswith("sRGB"):
            return None
        mode_of_profile = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space)
        # Grey images with an RGB profile are common and valid: grey is red = green = blue.
        if mode_of_profile is None or (mode_of_profile != mode and (mode_of_profile, mode) != ("RGB", "L")):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode_of_profile, "RGB")
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
