"""bytes -> an opened picture, its header checked: which format it is, how large, and whether it is all there.

Read are JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, HEIC and AVIF, told by their first bytes, never by a name.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings

import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from transforms.errors import Corrupt, TooManyPixels, Truncated
from transforms.imaging import tiff

MAX_READS = 10_000  # pieces of a header; real ones have a few hundred
MAX_SCANS = 200  # of a JPEG; real ones have up to about ten
MAX_BMP_WIDTH = 1 << 16  # its run-length codes skip up to 255 rows at once, and Pillow writes them out

# Pillow's settings are globals of its modules: set once, here, and never within a call, as threads share them.
Image.MAX_IMAGE_PIXELS = None  # checked here, against max_pixels
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # at 1 MiB, pictures are refused whose editors keep their own data in them
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded side by side already
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# Pillow's warnings and log records about odd metadata are not shown: an image that fails because of it has a failure
# row, and under -W error they would fail images that are fine. The settings are for the whole process, because
# warnings.catch_warnings is not safe among threads. They affect Pillow's own modules only.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

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
MAGIC = {  # those that their first bytes tell alone
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG 2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")


def kind_of(data: bytes) -> str | None:
    """The format of a file, as messages name it: "JPEG 2000". None where it is none that can be read."""
    for kind, magic in MAGIC.items():
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC" if brands & _HEIC_BRANDS else None
    return None


def open_image(data: bytes, kind: str, max_pixels: int) -> ImageFile.ImageFile:
    """File of a known format -> the picture with its header read and checked, its pixels not yet decoded.

    Raises a ``DecodeError`` for what was checked here, and nearly anything for bytes that the parser stumbles over.
    """
    _check_bytes(data, kind, max_pixels)
    source = _Source(data)
    image = _PARSERS[kind](source)
    source.reads_left = float("inf")
    check_size(image.size, kind, max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_size(tiff.tile_size(image), "TIFF's tile", max_pixels)
        tiff.check_tags(image, len(data))
    if kind == "BMP" and image.width > MAX_BMP_WIDTH:
        raise TooManyPixels(f"this BMP is {image.width:,} pixels wide; more than {MAX_BMP_WIDTH:,} cannot be read")
    return image


def check_size(size: tuple[int, int], what: str, max_pixels: int) -> None:
    """Raise ``TooManyPixels`` where width x height is more than ``max_pixels``."""
    width, height = size
    if width * height > max_pixels:
        has = f"{width:,} x {height:,} = {width * height:,} pixels"
        raise TooManyPixels(f"this {what} has {has}, more than {max_pixels:,}; raise --max-pixels to take it")


def ends_early(data: bytes, kind: str, error: Exception) -> bool:
    """Whether a file that failed was cut off: by what its container says, else by what its parser said."""
    match kind:
        case "PNG":
            return False  # seen to before it was opened
        case "WebP":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        case "JPEG 2000":
            return b"\xff\xd9" not in data  # ends a codestream and occurs nowhere else in it
        case "HEIC" | "AVIF":
            return _boxes_end_early(data)
        case "TIFF" if tiff.tags_end_early(data):
            return True
    return "truncated" in str(error).lower() or isinstance(error.__cause__, EOFError | IndexError | struct.error)


class _Source(io.BytesIO):
    """A file whose header may be read in so many pieces only: parsers join pieces in quadratic time."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError(f"its header is in more than {MAX_READS:,} pieces")
        return super().read(size)


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
        check_size((width, height), kind, max_pixels)
    if kind == "JPEG 2000" and 0 <= (at := data.find(b"\xff\x4f\xff\x51")) <= len(data) - 24:
        # What OpenJPEG allocates for; Pillow looks at the box around it.
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        check_size((max(0, right - left), max(0, bottom - top)), kind, max_pixels)
    if kind == "TIFF":
        tiff.check_compression(data)


def _scans(data: bytes) -> int:
    at, scans = 2, 0
    while (marker := _JPEG_MARKER.search(data, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _boxes_end_early(data: bytes) -> bool:
    """Of a HEIC or AVIF: whether its last box goes on behind the end, or none holds pixels."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 0:  # a box that goes on to the end, wherever that is
            return False
        at += max(8, size if size > 1 else int.from_bytes(data[at + 8 : at + 16], "big"))
    return at != len(data) or b"mdat" not in data
