"""The parsers of Pillow and pillow-heif without what they do with metadata and with later frames.

Pillow reads the whole EXIF block, several times, and each of its tags can ask for as many bytes as the block has. Only
the orientation is needed, and ``orientation`` reads it alone.

The parsers below depend on no setting of Pillow that other code of the process may need differently: they compare no
size with ``Image.MAX_IMAGE_PIXELS``, and they raise no Python warning about odd metadata. An image that fails because
of its metadata has a failure row, and under ``-W error`` a warning would fail images that are fine.
"""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from typing import IO, Any, cast

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
    TiffTags,
    WebPImagePlugin,
)

from transforms.errors import Corrupt
from transforms.imaging import gif, png, tiff

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


class Gif(GifImagePlugin.GifImageFile):
    """The first frame of a GIF."""

    @property
    def disposal_method(self) -> int:
        """Return 0: nothing follows the first frame, so nothing is prepared for that."""
        return 0

    @disposal_method.setter
    def disposal_method(self, value: int) -> None:
        pass

    def _seek(self, frame: int, update_image: bool = True) -> None:
        self._size = gif.size(cast(io.BytesIO, self._fp).getvalue())
        super()._seek(frame, update_image)


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


class Png(PngImagePlugin.PngImageFile):
    """The first image of a PNG."""

    @property
    def png(self) -> PngImagePlugin.PngStream | None:
        """Return the reader of chunks."""
        return self._chunks

    @png.setter
    def png(self, stream: PngImagePlugin.PngStream | None) -> None:
        """Replace the reader that the parser makes."""
        self._chunks = png.Chunks(stream.fp) if stream and stream.fp else None


class _Directory(TiffImagePlugin.ImageFileDirectory_v2):
    """The tags of a TIFF."""

    def load(self, fp: IO[bytes]) -> None:
        """Read the first directory as Pillow does. What is broken is skipped, but without a warning."""
        data = cast(io.BytesIO, fp).getvalue()
        self.reset()
        self._offset = tiff.directory_offset(data)
        with suppress(struct.error, OverflowError):  # the directory is cut short
            for tag, type_, count, field in tiff.directory(data):
                if type_ not in self._load_dispatch:
                    continue
                unit = self._load_dispatch[type_][0]
                value = tiff.value(data, count * unit, field)
                if value is None:
                    return
                if TiffTags.lookup(tag).length == 1 and type_ not in tiff.BYTES:
                    value = value[:unit]
                if value:
                    self._tagdata[tag] = value
                    self.tagtype[tag] = type_


class Tiff(TiffImagePlugin.TiffImageFile):
    """The first page of a TIFF, which is not rotated here."""

    def _open(self) -> None:
        assert self.fp is not None
        header = self.fp.read(8)
        self.tag_v2 = _Directory(header + self.fp.read(8) if header[2:3] == b"+" else header)
        self.tag_v2.load(self.fp)
        self.is_animated = False
        if (xmp := self.tag_v2.get(TiffImagePlugin.XMP)) is not None:
            self.info["xmp"] = xmp
        self._setup()

    def _setup(self) -> None:
        samples = self.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
        if samples > TiffImagePlugin.MAX_SAMPLESPERPIXEL:  # Pillow also logs an error
            raise Corrupt(f"this TIFF has {samples:,} samples per pixel")
        super()._setup()
        self._size = self._tile_size

    def load(self) -> Any:
        """Decode the pixels."""
        with tiff.silence:
            return super().load()

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
    "GIF": Gif,
    "HEIC": Heic,
    "JPEG": Jpeg,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": Png,
    "TIFF": Tiff,
    "WebP": WebP,
}


def orientation(image: Image.Image) -> int:
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
                exif = bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
            found = tiff.orientation(exif) if exif else None
    if found is None:
        xmp = image.info.get("xmp") or b""
        match = _XMP_ORIENTATION.search(xmp.encode(errors="replace") if isinstance(xmp, str) else bytes(xmp))
        found = int(match[1]) if match else 1
    return found if found in range(1, 9) else 1
