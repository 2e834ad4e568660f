"""What has to be known of a TIFF besides what Pillow tells: compression, previews, missing bytes.

libtiff has one error handler for the whole process, and ``silence`` replaces it while TIFFs are decoded.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from PIL import ExifTags, TiffImagePlugin, _imaging

from transforms.errors import Corrupt, NotAnImage, Truncated

MAX_ENTRIES = 10_000  # of a directory that are searched; real ones have a few dozen
MAX_VALUES = 400_000  # numbers in a tag: 100 million pixels in tiles of 16 x 16 have as many offsets

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}  # bytes by type
BYTES = (1, 2, 7)  # types whose values stay bytes
_UNSIGNED = {3: "H", 4: "L", 16: "Q"}  # by type, as ``struct`` calls them
_COMPRESSIONS = {  # that Pillow does not name, or names differently
    50001: "WebP",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def _load_libtiff() -> ctypes.CDLL | None:
    """Return the libtiff that Pillow is linked to. None if its functions cannot be reached, as in a static build."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)  # a symbol is also looked up in the libraries that it links
        library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFIsCODECConfigured.argtypes = [ctypes.c_uint16]
        library.TIFFIsCODECConfigured.restype = ctypes.c_int
        return library
    return None


_LIBTIFF = _load_libtiff()


class _Silence:
    """Replaces libtiff's error handler while at least one TIFF is decoded, then puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decodes = 0
        self._handler: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._decodes += 1
            if self._decodes == 1 and _LIBTIFF is not None:
                self._handler = _LIBTIFF.TIFFSetErrorHandler(None)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._decodes -= 1
            if self._decodes == 0 and _LIBTIFF is not None:
                _LIBTIFF.TIFFSetErrorHandler(self._handler)


# libtiff writes its errors to file descriptor 2, which cannot be redirected safely among decoding threads. An error
# still makes the image fail. Pillow itself turns off libtiff's warnings in the same way, but for good.
silence = _Silence()


def check_compression(data: bytes) -> None:
    """Raise ``NotAnImage`` for a compression that this build of Pillow and libtiff cannot read.

    Args:
        data: The whole file. Its header is read here, because Pillow's parser fails on most of these files.
    """
    code = _compression(data)
    if code is None or _can_read(code):
        return
    name = _COMPRESSIONS.get(code) or TiffImagePlugin.COMPRESSION_INFO.get(code)
    compression = f"{name} compression (code {code})" if name else f"compression code {code}"
    raise NotAnImage(
        f"this TIFF uses {compression}, which this build of Pillow and libtiff does not support; "
        "save the image with LZW or Deflate compression"
    )


def check_directory(data: bytes) -> None:
    """Raise ``Corrupt`` for a first directory whose values would take far more memory than the file.

    A parser copies each value, and several tags can point to the same bytes. Numbers become Python objects.
    """
    total, inline = 0, _inline_size(data)
    form = f"{_byte_order(data)}{'Q' if inline == 8 else 'L'}"
    with suppress(struct.error, OverflowError):
        for number, (tag, type_, count, value) in enumerate(directory(data)):
            size = count * _TYPE_SIZES.get(type_, 0)
            if size <= inline or struct.unpack(form, value)[0] + size > len(data):
                continue  # values behind the end of the file are not read
            if type_ not in BYTES and count > MAX_VALUES:
                raise Corrupt(f"tag {tag} of this TIFF has {count:,} numbers; the maximum is {MAX_VALUES:,}")
            total += size
            if total > len(data) or number > MAX_ENTRIES:
                raise Corrupt(f"the tags of this TIFF take {total:,} bytes, but the file has {len(data):,}")


def orientation(exif: bytes) -> int | None:
    """Return the orientation in an EXIF block, which is a TIFF. None if it has none, or is broken."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    if exif[:2] not in (b"II", b"MM"):
        return None
    with suppress(struct.error, OverflowError, IndexError):
        for tag, type_, count, value in islice(directory(exif), MAX_ENTRIES):
            if tag == ExifTags.Base.Orientation and count == 1 and type_ in _UNSIGNED:
                return int(struct.unpack_from(_byte_order(exif) + _UNSIGNED[type_], value)[0])
    return None


def check_tags(image: TiffImagePlugin.TiffImageFile, length: int) -> None:
    """Check the tags of an opened TIFF.

    Args:
        image: The opened TIFF, whose pixels are not decoded yet.
        length: Size of the file in bytes.

    Raises:
        NotAnImage: The first image of the file is a preview.
        Truncated: The pixels lie partly behind the end of the file.
    """
    tags = image.tag_v2
    if tags.get(ExifTags.Base.NewSubfileType, 0) & 1:
        raise NotAnImage("this TIFF starts with a preview, as raw files of cameras do; export the image itself")
    if image.info.get("compression") != "raw":  # Pillow checks raw pixels itself; libtiff invents missing ones
        offsets = tags.get(TiffImagePlugin.STRIPOFFSETS) or tags.get(TiffImagePlugin.TILEOFFSETS, ())
        counts = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS, ())
        end = max(map(sum, zip(offsets, counts, strict=False)), default=0)
        if end > length:
            raise Truncated(f"this TIFF ends after {length:,} bytes, but its image takes {end:,}")


def tile_size(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    """Return the width and height of a tile in pixels; zeros for a TIFF without tiles."""
    tags = image.tag_v2
    return tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)


def memory(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the bytes that decoding takes: the pixels, and one strip or tile as it is stored."""
    tags = image.tag_v2
    width, height = image.size
    rows = tags.get(TiffImagePlugin.ROWSPERSTRIP, height)
    across, down = tile_size(image) if TiffImagePlugin.TILEWIDTH in tags else (width, min(height, rows))
    bits = sum(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    return 5 * width * height + across * down * bits // 8


def declared_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that the first directory declares; zeros where it has none."""
    sides = {TiffImagePlugin.IMAGEWIDTH: 0, TiffImagePlugin.IMAGELENGTH: 0}
    for tag, type_, _, value in islice(directory(data), MAX_ENTRIES):
        if tag in sides and type_ in _UNSIGNED:
            (sides[tag],) = struct.unpack_from(_byte_order(data) + _UNSIGNED[type_], value)
    width, height = sides.values()
    return width, height


def tags_end_early(data: bytes) -> bool:
    """Return whether the first directory of a TIFF, or a value that it points to, lies behind the end of the file."""
    order, inline = _byte_order(data), _inline_size(data)
    try:
        for _, type_, count, value in directory(data):
            (offset,) = struct.unpack(f"{order}{'Q' if inline == 8 else 'L'}", value)
            if count * _TYPE_SIZES.get(type_, 0) > max(inline, len(data) - offset):
                return True
    except (struct.error, OverflowError):
        return True
    return False


def _compression(data: bytes) -> int | None:
    """Return the code of the first image's compression. None if the file has no such tag, or a broken one."""
    with suppress(struct.error, OverflowError):
        for tag, type_, count, value in islice(directory(data), MAX_ENTRIES):
            if tag == TiffImagePlugin.COMPRESSION and count == 1 and type_ in _UNSIGNED:
                return int(struct.unpack_from(_byte_order(data) + _UNSIGNED[type_], value)[0])
    return None


def _can_read(code: int) -> bool:
    if code not in TiffImagePlugin.COMPRESSION_INFO:
        return False
    return _LIBTIFF is None or bool(_LIBTIFF.TIFFIsCODECConfigured(code))


def directory_offset(data: bytes) -> int:
    """Return the position of the first directory.

    Raises:
        struct.error: The file ends before it says so.
    """
    inline = _inline_size(data)
    (at,) = struct.unpack_from(_byte_order(data) + ("Q" if inline == 8 else "L"), data, inline)
    return int(at)


def value(data: bytes, size: int, field: bytes) -> bytes | None:
    """Return the bytes of a tag's value, which the field of its entry holds or points to. None if the file ends before.

    Args:
        data: The whole file.
        size: Size of the value in bytes.
        field: The last field of the entry.
    """
    if size <= len(field):
        return field[:size]
    (at,) = struct.unpack(_byte_order(data) + ("Q" if len(field) == 8 else "L"), field)
    return data[at : at + size] if at + size <= len(data) else None


def directory(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the entries of the first directory: tag, type, count, and the field that holds a value or its offset.

    Raises:
        struct.error: The directory lies partly behind the end of the file.
        OverflowError: Its offset is too large for any file.
    """
    order, inline = _byte_order(data), _inline_size(data)
    number, entry = ("Q", "HHQ8s") if inline == 8 else ("H", "HHL4s")
    at = directory_offset(data)
    (entries,) = struct.unpack_from(order + number, data, at)
    at += struct.calcsize(order + number)
    for _ in range(entries):
        yield struct.unpack_from(order + entry, data, at)
        at += struct.calcsize(order + entry)


def _byte_order(data: bytes) -> str:
    return "<" if data[0] == 0x49 else ">"


def _inline_size(data: bytes) -> int:
    """Return the bytes that an entry holds itself, which is also the position of the first directory's offset."""
    return 8 if 43 in data[2:4] else 4
