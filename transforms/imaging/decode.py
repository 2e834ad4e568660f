"""bytes -> uint8 RGB: the picture as a person would see it, or one error that says why there is none.

Read are JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, HEIC and AVIF, told by their first bytes, never by a name. Of
several frames or pages the first counts, of a HEIC the primary one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
import struct
import threading
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from transforms.errors import Corrupt, DecodeError, EmptyFile, NotAnImage, TooManyPixels, Truncated

MAX_PIXELS = 100_000_000
LARGE = 24_000_000  # pixels; above, one picture is decoded at a time: threads must not multiply the memory
MAX_READS = 10_000  # pieces of a header; real ones have a few hundred
MAX_SCANS = 200  # of a JPEG; real ones have up to about ten
MAX_BMP_WIDTH = 1 << 16  # its run-length codes skip up to 255 rows at once, and Pillow writes them out

# Pillow's settings are globals of its modules: set once, here, and never within a call, as threads share them.
Image.MAX_IMAGE_PIXELS = None  # checked here, against max_pixels
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # at 1 MiB, pictures are refused whose editors keep their own data in them
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded side by side already
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# Odd metadata is not worth a log line an image; warnings.catch_warnings is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The parsers themselves, as Image.open would hide their reasons and try formats that nobody asked for.
_PARSERS: dict[str, type[ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIC": pillow_heif.HeifImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_MAGIC = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG 2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}  # bytes by type
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_one_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, upright and in sRGB.

    pixels: uint8[h, w, 3], RGB, read-only; smaller than the picture where a JPEG was decoded scaled.
    width, height: of the picture itself, in pixels, after EXIF orientation.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode_image(data: bytes, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Decoded:
    """File -> upright sRGB pixels, transparency on white, 16 bits scaled to 8.

    min_side: a JPEG is decoded at 1/2, 1/4 or 1/8, several times faster, where its shorter side keeps at least
    this many pixels; None for full size.
    max_pixels: the most that a header may declare; for more, nothing is allocated.

    Raises ``EmptyFile``, ``NotAnImage``, ``Truncated``, ``Corrupt`` or ``TooManyPixels``, and nothing else.
    """
    if not data:
        raise EmptyFile("the file holds no bytes")
    kind = _kind(data)
    if kind is None:
        raise NotAnImage(f"no image format that can be read starts with {data[:8]!r}")
    try:
        return _decode(data, kind, min_side, max_pixels)
    except DecodeError:
        raise
    except MemoryError as error:
        raise TooManyPixels(f"this {kind} takes more memory than there is; lower --max-pixels") from error
    except Exception as error:  # broken bytes make the parsers raise nearly anything
        if _ends_early(data, kind, error):
            raise Truncated(f"this {kind} ends after {len(data):,} bytes, before the picture does") from error
        reason = str(error) if " " in str(error) else repr(error.__cause__ or error)
        raise Corrupt(f"this {kind} cannot be decoded: {reason}") from error


def _kind(data: bytes) -> str | None:
    for kind, magic in _MAGIC.items():
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC" if brands & _HEIC_BRANDS else None
    return None


def _decode(data: bytes, kind: str, min_side: int | None, max_pixels: int) -> Decoded:
    _check_bytes(data, kind, max_pixels)
    source = _Source(data)
    image = _PARSERS[kind](source)
    source.reads_left = math.inf
    size = image.size
    _check_size(size, kind, max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, len(data), max_pixels)
    if kind == "BMP" and size[0] > MAX_BMP_WIDTH:
        raise TooManyPixels(f"this BMP is {size[0]:,} pixels wide; more than {MAX_BMP_WIDTH:,} cannot be read")
    if kind == "JPEG" and min_side is not None:
        image.draft(None, (min_side, min_side))
    drafted = image.size
    # A progressive JPEG is held as coefficients, and these at full size, before it is scaled.
    held = math.prod(size if image.info.get("progressive") else drafted)
    with _one_large if held > LARGE else contextlib.nullcontext():
        image.load()
        if image.size != drafted:  # libheif finds some sizes out only now
            size = image.size
            _check_size(size, kind, max_pixels)
        orientation = _orientation(image)
        upright = _srgb(image)
        if orientation in _TURNS:
            upright = upright.transpose(_TURNS[orientation])
        return Decoded(np.asarray(upright), *(size if orientation < 5 else size[::-1]))


class _Source(io.BytesIO):
    """A file whose header may be read in so many pieces only: parsers join pieces in quadratic time."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError(f"its header is in more than {MAX_READS:,} pieces")
        return super().read(size)


def _check_size(size: tuple[int, int], what: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"this {what} has {width:,} x {height:,} = {width * height:,} pixels, more than {max_pixels:,}; "
            "raise --max-pixels to take it"
        )


def _check_bytes(data: bytes, kind: str, max_pixels: int) -> None:
    """What has to be refused before the parser sees it, or what the parser would not notice."""
    if kind == "PNG" and b"IEND\xae\x42\x60\x82" not in data:
        raise Truncated(f"this PNG ends after {len(data):,} bytes, before its IEND")
    # Each scan costs a pass over the whole picture, even an empty one. (Counting bytes is quick, but a video that
    # a phone has put behind the picture holds some by chance.)
    if kind == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS and (scans := _scans(data)) > MAX_SCANS:
        raise Corrupt(f"this JPEG has {scans:,} scans; a picture has about ten")
    if kind == "WebP" and data[12:16] == b"VP8X":  # its canvas is allocated on opening
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        _check_size((width, height), kind, max_pixels)
    if kind == "JPEG 2000" and 0 <= (at := data.find(b"\xff\x4f\xff\x51")) <= len(data) - 24:
        # What OpenJPEG allocates for; Pillow looks at the box around it.
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        _check_size((max(0, right - left), max(0, bottom - top)), kind, max_pixels)


def _scans(data: bytes) -> int:
    at, scans = 2, 0
    while (marker := _JPEG_MARKER.search(data, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _check_tiff(image: TiffImagePlugin.TiffImageFile, length: int, max_pixels: int) -> None:
    tags = image.tag_v2
    if tags.get(ExifTags.Base.NewSubfileType, 0) & 1:
        raise NotAnImage("this TIFF starts with a preview, as raw files of cameras do; export the picture itself")
    _check_size(
        (tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)), "TIFF's tile", max_pixels
    )
    if image.info.get("compression") != "raw":  # there Pillow looks itself; libtiff makes up what is missing
        offsets = tags.get(TiffImagePlugin.STRIPOFFSETS) or tags.get(TiffImagePlugin.TILEOFFSETS, ())
        counts = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS, ())
        end = max(map(sum, zip(offsets, counts, strict=False)), default=0)
        if end > length:
            raise Truncated(f"this TIFF ends after {length:,} bytes; its picture takes {end:,}")


def _ends_early(data: bytes, kind: str, error: Exception) -> bool:
    """Whether a file that failed was cut off: by what its container says, else by what its parser said."""
    match kind:
        case "PNG":
            return False  # seen to before
        case "WebP":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        case "JPEG 2000":
            return b"\xff\xd9" not in data  # ends a codestream and occurs nowhere else in it
        case "HEIC" | "AVIF":
            at = 0
            while at + 8 <= len(data):
                size = int.from_bytes(data[at : at + 4], "big")
                if size == 0:  # a box that goes on to the end, wherever that is
                    return False
                at += max(8, size if size > 1 else int.from_bytes(data[at + 8 : at + 16], "big"))
            return at != len(data) or b"mdat" not in data
        case "TIFF":
            order = "<" if data[0] == 0x49 else ">"
            # Where the first directory's offset stands, which is also how much a tag holds in itself.
            inline, count, entry = (8, "Q", "HHQQ") if 43 in data[2:4] else (4, "H", "HHLL")
            try:
                (at,) = struct.unpack_from(order + entry[-1], data, inline)
                (tags,) = struct.unpack_from(order + count, data, at)
                at += struct.calcsize(order + count)
                table = data[at : at + tags * struct.calcsize(order + entry)]
                for _, type_, values, offset in struct.iter_unpack(order + entry, table):
                    if values * _TIFF_SIZES.get(type_, 0) > max(inline, len(data) - offset):
                        return True
            except (struct.error, OverflowError):
                return True
            if at + tags * struct.calcsize(order + entry) > len(data):
                return True
    return "truncated" in str(error).lower() or isinstance(error.__cause__, EOFError | IndexError | struct.error)


def _orientation(image: Image.Image) -> int:
    """1 to 8, as in EXIF. TIFF and HEIC were turned by their parsers, and say 1 by now."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata: better the picture as it lies than none
        return 1
    return orientation if orientation in _TURNS else 1


def _srgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB. A profile speaks of colours alone: it comes before transparency meets the white of sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise NotAnImage("floating-point pixels have no agreed range; save the picture with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.removesuffix("A"))
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if profile and (transform := _transform(profile, image.mode)):
        mode = transform.input_mode
        image = transform.apply(image if image.mode == mode else image.convert(mode))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.paste("white", mask=ImageChops.invert(alpha))
    return image


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
        if (
            image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
        ):  # white is 0; Pillow knows it for 8 bits only
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
