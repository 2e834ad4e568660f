"""Detect the format of an image file, check its header and open it.

The formats are JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, HEIC and AVIF. They are detected by their first bytes; the
name of the file makes no difference.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import ImageFile, TiffImagePlugin

from transforms.errors import Corrupt, TooManyPixels, Truncated
from transforms.imaging import heif, jpeg2000, parsers, tiff

MAX_READS = 10_000  # pieces of a header; real ones have a few hundred
MAX_SCANS = 200  # of a JPEG; real ones have up to about ten

MAX_SIDE = 65_500  # pixels; Pillow needs memory for each row, and a run-length code of a BMP skips up to 255 rows
BYTES_PER_PIXEL = 10  # of memory, for each pixel of the limit
_DECODER_BYTES = {"WebP": 16, "AVIF": 16}  # bytes of memory for each pixel, where it is more than that; measured

MAGIC = {  # formats that the first bytes identify
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
    """Return the format of a file as in messages, such as "JPEG 2000". None if it is not supported."""
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
    """Open a file of a known format and check its header. The pixels are not decoded yet.

    Raises:
        DecodeError: The header fails a check.
        Exception: The parser fails on broken bytes. It may raise almost any exception.
    """
    _check_bytes(data, kind, max_pixels)
    source = _Source(data)
    # The parsers are called directly, because Image.open hides their errors and tries other formats.
    image = parsers.PARSERS[kind](source)
    source.reads_left = float("inf")
    check_size(image.size, kind, max_pixels)
    check_memory(_DECODER_BYTES.get(kind, 0) * image.width * image.height, kind, max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_size(tiff.tile_size(image), "TIFF's tile", max_pixels)
        check_memory(tiff.memory(image), kind, max_pixels)
        tiff.check_tags(image, len(data))
    return image


def check_size(size: tuple[int, int], what: str, max_pixels: int) -> None:
    """Raise ``TooManyPixels`` if width x height is more than ``max_pixels``, or one of them more than ``MAX_SIDE``."""
    width, height = size
    if width * height > max_pixels:
        has = f"{width:,} x {height:,} = {width * height:,} pixels"
        raise TooManyPixels(f"this {what} has {has}, more than {max_pixels:,}; raise --max-pixels to include it")
    if max(size) > MAX_SIDE:
        raise TooManyPixels(f"this {what} has {width:,} x {height:,} pixels; the longest side may have {MAX_SIDE:,}")


def check_memory(needed: int, what: str, max_pixels: int) -> None:
    """Raise ``TooManyPixels`` if decoding needs more than ``BYTES_PER_PIXEL`` bytes for each of ``max_pixels``."""
    if needed > BYTES_PER_PIXEL * max_pixels:
        most = f"{BYTES_PER_PIXEL * max_pixels:,}"
        raise TooManyPixels(
            f"decoding this {what} needs {needed:,} bytes of memory, more than {most}; raise --max-pixels to include it"
        )


def ends_early(data: bytes, kind: str, error: Exception) -> bool:
    """Return whether a file that failed is truncated, according to its container or the error of its parser."""
    match kind:
        case "PNG":
            return False  # checked before it is opened
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
    """A file that limits the reads of its header, because parsers join the pieces in quadratic time."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError(f"its header is in more than {MAX_READS:,} pieces")
        return super().read(size)


def _check_bytes(data: bytes, kind: str, max_pixels: int) -> None:
    """Check what must be refused before the parser runs, or what the parser does not notice."""
    if kind == "PNG" and b"IEND\xae\x42\x60\x82" not in data:
        raise Truncated(f"this PNG ends after {len(data):,} bytes, before its IEND")
    # Each scan costs a pass over the whole image, even if it is empty. Counting bytes is a fast first check, but a
    # video that a phone appends to the image contains some of these bytes by chance.
    if kind == "JPEG" and count_pairs(data, b"\xff\xda") > MAX_SCANS and (scans := _scans(data)) > MAX_SCANS:
        raise Corrupt(f"this JPEG has {scans:,} scans; an image has about ten")
    if kind == "WebP" and data[12:16] == b"VP8X":  # the parser allocates its canvas
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_size((width, height), kind, max_pixels)
    if kind == "JPEG 2000":
        # OpenJPEG allocates memory for this size. Pillow reports the size in the enclosing box.
        check_size(jpeg2000.canvas(data), kind, max_pixels)
        check_memory(jpeg2000.memory(data), kind, max_pixels)
    if kind == "HEIC":
        heif.check_items(data)
    if kind == "TIFF":
        tiff.check_compression(data)
        tiff.check_directory(data)


def count_pairs(data: bytes, pair: bytes) -> int:
    """Return how often two different bytes follow each other, in a quarter of the time of ``bytes.count``."""
    words = (np.frombuffer(data, np.uint16, (len(data) - at) // 2, at) for at in (0, 1))
    return sum(int(np.count_nonzero(each == np.frombuffer(pair, np.uint16))) for each in words)


def _scans(data: bytes) -> int:
    return sum(code == 0xDA for code, _ in jpeg_segments(data))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the code of each marker of a JPEG that has a length, and the position of the length."""
    at = 2
    while (marker := _JPEG_MARKER.search(data, at)) and marker[1] != b"\xd9":
        yield marker[1][0], marker.end()
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def _boxes_end_early(data: bytes) -> bool:
    """Return whether the last box of a HEIC or AVIF extends beyond the end, or no box has pixels."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 0:  # this box extends to the end of the file
            return False
        at += max(8, size if size > 1 else int.from_bytes(data[at + 8 : at + 16], "big"))
    return at != len(data) or b"mdat" not in data
