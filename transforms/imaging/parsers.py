"""The parsers of Pillow and pillow-heif without what they do with metadata.

Pillow reads the whole EXIF block, several times, and each of its tags can ask for as many bytes as the block has. Only
the orientation is needed, and ``orientation`` reads it alone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from transforms.imaging import tiff

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class Avif(AvifImagePlugin.AvifImageFile):
    """An AVIF. Its decoder reports the orientation, also the one in the EXIF block."""

    rotation = 1

    def _open(self) -> None:
        assert self.fp is not None
        library: Any = AvifImagePlugin
        # One thread, because images are already decoded in parallel.
        self._decoder = library._avif.AvifDecoder(self.fp.read(), "auto", 1)
        self._size, self.n_frames, self._mode, profile, _, self.rotation, _ = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        if profile:
            self.info["icc_profile"] = profile
        self.seek(0)

    def load(self) -> Any:
        """Decode the pixels and free the decoder, which holds them too."""
        access = super().load()
        self._decoder = self.fp = None
        return access


class Heic(pillow_heif.HeifImageFile):
    """A HEIC. libheif rotates it."""

    def _init_from_heif_file(self, index: int) -> None:
        for image in self._heif_file or ():
            for key in ("exif", "xmp", "metadata"):
                image.info.pop(key, None)
        super()._init_from_heif_file(index)


class Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG."""

    def _read_dpi_from_exif(self) -> None:
        """Do nothing: the resolution is not needed."""


class Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF, which is not rotated here."""

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_prepare(self) -> None:
        """Allocate the pixels. Their number is checked elsewhere, and not against a global of Pillow."""
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        ImageFile.ImageFile.load_prepare(self)

    def load_end(self) -> None:
        """Do nothing: the EXIF directories are not needed."""


class WebP(WebPImagePlugin.WebPImageFile):
    """A WebP."""

    def load(self) -> Any:
        """Decode the pixels and free the decoder, which holds them several times."""
        access = super().load()
        self._decoder = self.fp = None
        return access


PARSERS: dict[str, type[ImageFile.ImageFile]] = {
    "AVIF": Avif,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIC": Heic,
    "JPEG": Jpeg,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": Tiff,
    "WebP": WebP,
}


def orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation of a loaded image, 1 to 8. Broken metadata and a HEIC, which is upright, give 1."""
    if isinstance(image, Avif):
        return image.rotation if image.rotation in range(1, 9) else 1
    found = None
    with suppress(ValueError, TypeError, AttributeError):  # an image that is not upright is better than a failure
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            found = image.tag_v2.get(ExifTags.Base.Orientation)
        else:
            exif = image.info.get("exif")
            if exif is None and (text := image.info.get("Raw profile type exif")):
                exif = bytes.fromhex("".join(text.split("\n")[3:]))
            found = tiff.orientation(exif) if exif else None
    if found is None:
        xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
        match = _XMP_ORIENTATION.search(xmp.encode(errors="replace") if isinstance(xmp, str) else bytes(xmp))
        found = int(match[1]) if match else 1
    return found if found in range(1, 9) else 1
