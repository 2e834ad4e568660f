"""Pictures in every format, drawn in code, and what decoding gives of them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from transforms.imaging import decode, drawn

pillow_heif.register_heif_opener()  # Pillow writes HEIC files for the tests; transforms.imaging does not need it

PICTURE = drawn.draw(3, 48, 40)
SMOOTH = np.asarray(Image.fromarray(drawn.draw(4, 12, 9)).resize((96, 72), Image.Resampling.BICUBIC))
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

LOSSLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("png", {}),
    "interlaced gif": ("gif", {"interlace": 1}),
    "bmp": ("bmp", {}),
    "webp": ("webp", {"lossless": True}),
    "tiff": ("tiff", {}),
    "tiff lzw": ("tiff", {"compression": "tiff_lzw"}),
    "tiff deflate": ("tiff", {"compression": "tiff_adobe_deflate"}),
    "tiff packbits": ("tiff", {"compression": "packbits"}),
    "bigtiff": ("tiff", {"big_tiff": True}),
    "jp2": ("jpeg2000", {}),
    "j2k": ("jpeg2000", {"no_jp2": True}),
}
LOSSY: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("jpeg", {"quality": 95, "subsampling": 0}),
    "progressive jpeg": ("jpeg", {"quality": 95, "subsampling": 0, "progressive": True}),
    "tiff jpeg": ("tiff", {"compression": "jpeg", "quality": 95}),
    "lossy webp": ("webp", {"quality": 95}),
    "lossy jp2": ("jpeg2000", {"irreversible": True, "quality_layers": [10]}),
    "heic": ("heif", {"quality": 95, "chroma": 444}),
    "avif": ("avif", {"quality": 95, "subsampling": "4:4:4"}),
}


def sample(name: str) -> bytes:
    kind, options = (LOSSLESS | LOSSY)[name]
    pixels = SMOOTH if name in LOSSY else PICTURE
    if kind == "gif":
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)  # eight colours
    return drawn.encode(pixels, kind, **options)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes, **options: Any) -> drawn.Pixels:
    return decode.decode_image(data, **options).pixels


def patches(*colours: Any, mode: str = "RGB") -> Image.Image:
    """A picture with one square of 16 x 16 pixels a colour."""
    image = Image.new(mode, (16 * len(colours), 16))
    for index, colour in enumerate(colours):
        image.paste(colour, (16 * index, 0, 16 * index + 16, 16))
    return image


def middles(data: bytes) -> list[tuple[int, ...]]:
    """The colour in the middle of each square of ``patches``."""
    return [tuple(map(int, colour)) for colour in pixels(data)[8, 8::16]]


def assert_near(got: list[tuple[int, ...]], want: list[tuple[int, ...]], within: int) -> None:
    assert np.abs(np.array(got) - np.array(want)).max() <= within, f"{got} is not near {want}"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    head = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def tiff(tags: dict[int, int], data: bytes, width: int, height: int) -> bytes:
    tags = {256: width, 257: height, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)} | tags
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    data += bytes(-len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
