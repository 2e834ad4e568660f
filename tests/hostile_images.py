"""Files that ask for far more memory or time than their size suggests, each drawn in code.

``CORPUS`` has a function for each file. All of them decode or fail within 1 GB and 10 seconds, at the default limits.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from pictures import PICTURE, chunk, png, sample, save
from PIL import Image

from transforms.errors import DecodeError
from transforms.imaging import decode, drawn

CORPUS: dict[str, Callable[[], bytes]] = {}
SIDE = 10_000  # 100 million pixels in a square, the default limit


def _add(name: str, draw: Callable[..., bytes], *arguments: Any, **options: Any) -> None:
    CORPUS[name] = lambda: draw(*arguments, **options)


def zeros(count: int) -> bytes:
    """A zlib stream of zeros, whose compressed megabytes are all the same."""
    whole, rest = divmod(count, 1 << 20)
    packer, last = (zlib.compressobj(9, zlib.DEFLATED, -15) for _ in range(2))
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = count % 65_521 << 16 | 1  # Adler-32
    return b"\x78\xda" + megabyte * whole + last.compress(bytes(rest)) + last.flush() + struct.pack(">I", checksum)


# JPEG 2000


def j2k(
    width: int,
    height: int,
    *,
    tile: tuple[int, int] | None = None,
    components: int = 1,
    block: int = 4,
    precincts: bytes = b"",
    resolutions: int = 0,
    boxed: bool = False,
) -> bytes:
    """A codestream whose tiles have no data. ``block`` is the exponent of the code-blocks' side, less two."""
    across, down = tile or (width, height)
    siz = struct.pack(">H8IH", 0, width, height, 0, 0, across, down, 0, 0, components) + b"\x07\x01\x01" * components
    cod = struct.pack(">BBHB5B", bool(precincts), 0, 1, 0, resolutions, block, block, 0, 1) + precincts
    qcd = bytes([0x40]) + bytes([0x40] * (3 * resolutions + 1))
    data = b"\xff\x4f"
    for marker, body in ((0x51, siz), (0x52, cod), (0x5C, qcd)):
        data += struct.pack(">2H", 0xFF00 | marker, 2 + len(body)) + body
    tiles = min(-(-width // across) * -(-height // down), 4)
    for index in range(tiles):
        data += struct.pack(">2HHI2B", 0xFF90, 10, index, 14 + 1, 0, 1) + b"\xff\x93" + b"\0"
    data += b"\xff\xd9"
    if not boxed:
        return data

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    head = box(b"ihdr", struct.pack(">2IH4B", height, width, min(components, 4), 7, 7, 0, 0)) + box(
        b"colr", b"\1\0\0" + struct.pack(">I", 16)
    )
    return box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", head) + box(b"jp2c", data)


_add("jp2 of 64 components in 65,025 tiles", j2k, 255, 255, tile=(1, 1), components=64, boxed=True)
_add("j2k of 65,025 tiles", j2k, 10_000, 10_000, tile=(40, 40), components=4)
_add("j2k of the smallest precincts", j2k, SIDE, SIDE, components=3, precincts=b"\x00")
_add("j2k of the smallest blocks", j2k, SIDE, SIDE, components=3, block=0)
_add("j2k of 100 million pixels", j2k, SIDE, SIDE, components=4)


# TIFF


def directory(entries: list[tuple[int, int, int, int]], at: int, order: str = "<") -> bytes:
    """A TIFF directory of entries (tag, type, count, value or offset)."""
    packed = b"".join(struct.pack(order + "2H2I", *entry) for entry in sorted(entries))
    return struct.pack(order + "H", len(entries)) + packed + bytes(4)


def tiff_of(tags: dict[int, tuple[int, int, int]], data: bytes, width: int, height: int) -> bytes:
    """A TIFF of 8-bit grey whose tags (type, count, value or offset) follow ``data``, which lies at offset 8."""
    tags = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
        277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height),
    } | tags  # fmt: skip
    data += bytes(-len(data) % 2)
    at = 8 + len(data)
    return b"II*\0" + struct.pack("<I", at) + data + directory([(tag, *value) for tag, value in tags.items()], at)


def shared_tags(megabytes: int, tags: int, type_: int = 7) -> bytes:
    size = {7: 1, 3: 2, 5: 8}[type_]
    several = {40_000 + tag: (type_, (megabytes << 20) // size, 8) for tag in range(tags)}
    return tiff_of(several, bytes(megabytes << 20), 8, 8)


def many_strips(strips: int, compression: int = 1) -> bytes:
    offsets = np.full(strips, 8, "<u4").tobytes()
    counts = np.full(strips, 1, "<u2").tobytes()
    tags = {259: (3, 1, compression), 273: (4, strips, 8), 278: (4, 1, 1), 279: (3, strips, 8 + len(offsets))}
    return tiff_of(tags, offsets + counts, 1, strips)


def sub_directory(tag: int) -> bytes:
    value = bytes(4 << 20)
    entries = [(1000 + number, 7, len(value), 8) for number in range(700)]
    return tiff_of({tag: (4, 1, 8 + len(value))}, value + directory(entries, 8 + len(value)), 8, 8)


def one_tile(channels: int, bits: int, photometric: int) -> bytes:
    body = zeros(SIDE * SIDE * channels * bits // 8)
    extra = struct.pack(f"<{channels}H", *[bits] * channels)
    body += bytes(len(body) % 2)
    at = 8 + len(body)
    bits_tag = (3, channels, at) if channels > 2 else (3, 1, bits)
    tags = {
        258: bits_tag, 259: (3, 1, 8), 262: (3, 1, photometric), 277: (3, 1, channels), 279: (4, 1, len(body)),
    }  # fmt: skip
    if channels == 4 and photometric == 2:
        tags[338] = (3, 1, 2)
    return tiff_of(tags, body + extra, SIDE, SIDE)


_add("tiff of 700 tags that share 8 MB", shared_tags, 8, 700)
_add("tiff of 500 tags that share 20 MB", shared_tags, 20, 500)
_add("tiff of rational tags that share 8 MB", shared_tags, 8, 100, 5)
_add("tiff of 6 million strips", many_strips, 6_000_000)
_add("tiff of 6 million compressed strips", many_strips, 6_000_000, 5)
_add("tiff of a million strips", many_strips, 65_000)
_add("tiff with 8 million bits per sample", lambda: tiff_of({258: (3, 8_000_000, 8)}, bytes(16_000_000), 8, 8))
_add("tiff with an EXIF directory of 2.8 GB", sub_directory, 0x8769)
_add("tiff with a GPS directory of 2.8 GB", sub_directory, 0x8825)
_add("tiff of 100 million grey pixels", one_tile, 1, 8, 1)
_add("tiff of 100 million grey pixels of 16 bits", one_tile, 1, 16, 1)
_add("tiff of 100 million RGBA pixels", one_tile, 4, 8, 2)
_add("tiff of 100 million RGB pixels of 16 bits", one_tile, 3, 16, 2)
_add("tiff of 100 million CMYK pixels", one_tile, 4, 8, 5)


# PNG


def png_of_zeros(width: int, height: int, depth: int, colour: int, *extra: bytes, interlaced: bool = False) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    body = zeros(height * (1 + -(-width * depth * channels // 8)))
    head = struct.pack(">2I5B", width, height, depth, colour, 0, 0, interlaced)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


_PALETTE = chunk(b"PLTE", bytes(range(6)))
_CLEAR = chunk(b"tRNS", b"\x80\xff")
_add("png of 1 x 99,999,999 bits", png_of_zeros, 1, 99_999_999, 1, 0)
_add("png of 1 x 99,999,999 RGBA pixels", png_of_zeros, 1, 99_999_999, 8, 6)
_add("png of 99,999,999 x 1 RGBA pixels", png_of_zeros, 99_999_999, 1, 8, 6)
_add("png of 1 x 99,999,999 palette pixels", png_of_zeros, 1, 99_999_999, 8, 3, _PALETTE, _CLEAR)
_add("png of 100 million RGBA pixels", png_of_zeros, SIDE, SIDE, 8, 6)
_add("png of 65,500 x 1,526 RGBA pixels", png_of_zeros, 65_500, 1_526, 8, 6)
_add("png of 1,526 x 65,500 RGBA pixels", png_of_zeros, 1_526, 65_500, 8, 6)
_add("png of 100 million grey pixels of 16 bits", png_of_zeros, SIDE, SIDE, 16, 0)
_add("png of 100 million grey pixels with alpha", png_of_zeros, SIDE, SIDE, 8, 4)
_add("png of 100 million palette pixels with alpha", png_of_zeros, SIDE, SIDE, 8, 3, _PALETTE, _CLEAR)
_add("png of 100 million interlaced bits", png_of_zeros, SIDE, SIDE, 1, 0, interlaced=True)


# EXIF


def exif_of(tags: int, size: int) -> bytes:
    """An EXIF block whose tags share one value."""
    entries = [(0x112, 3, 1, 6), *((1000 + tag, 7, size, 8) for tag in range(tags))]
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + directory(entries, 8 + size)


def exif_in_png() -> bytes:
    return png(1, 1, 8, 0, b"\0\x07", chunk(b"eXIf", exif_of(700, 2 << 20)))


def exif_as_text_in_png() -> bytes:
    text = b"\nexif\n  1\n" + (b"Exif\0\0" + exif_of(700, 2 << 20)).hex().encode()
    return png(1, 1, 8, 0, b"\0\x07", chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


def exif_in_webp() -> bytes:
    return drawn.encode(PICTURE, "webp", exif=b"Exif\0\0" + exif_of(700, 2 << 20))


def exif_in_jpeg() -> bytes:
    exif, data = exif_of(700, 2 << 20), drawn.encode(PICTURE, "jpeg")
    parts = [exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(part)) + b"Exif\0\0" + part for part in parts)
    return data[:2] + segments + data[data.index(b"\xff\xdb") :]


def exif_in(kind: str) -> bytes:
    """A file whose encoder sees one tag, which is then overwritten, because encoders write out what the tags share."""
    exif = exif_of(700, 2 << 20)
    filler = b"\x5a" * (len(exif) - 26)
    one = b"II*\0" + struct.pack("<IHHHLLL", 8, 1, 1000, 7, len(filler), 26, 0) + filler
    data = drawn.encode(PICTURE, kind, exif=b"Exif\0\0" + one)
    at = data.index(one)
    return data[:at] + exif + data[at + len(one) :]


_add("png with EXIF of 1.4 GB", exif_in_png)
_add("png with EXIF of 1.4 GB as text", exif_as_text_in_png)
_add("webp with EXIF of 1.4 GB", exif_in_webp)
_add("jpeg with EXIF of 1.4 GB", exif_in_jpeg)
_add("heic with EXIF of 1.4 GB", exif_in, "heif")
_add("avif with EXIF of 1.4 GB", exif_in, "avif")


# Large pictures of the other formats


def large(kind: str, mode: str = "RGB", width: int = SIDE, height: int = SIDE, **options: Any) -> bytes:
    return save(Image.new(mode, (width, height)), kind, **options)


_add("jpeg of 100 million pixels", large, "jpeg")
_add("jpeg of 100 million progressive CMYK pixels", large, "jpeg", "CMYK", progressive=True)
_add("gif of 100 million pixels", large, "gif", "P")
_add("webp of 100 million pixels", large, "webp", "RGBA", 16_000, 6_250, lossless=True, quality=0, method=0)
_add("avif of 64 million pixels", large, "avif", "RGBA", 8_000, 8_000, speed=10, quality=10)
_add("heic of 36 million pixels", large, "heif", "RGB", 6_000, 6_000, quality=1, enc_params={"preset": "ultrafast"})


def bmp_of_run_lengths(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + head + bytes(1024) + b"\0\2\xff\xff" * 400 + b"\0\1"


_add("bmp of 100 million pixels in run lengths", bmp_of_run_lengths, SIDE, SIDE)


# Frames, pieces and scans


def gif_of_pieces() -> bytes:
    data = sample("interlaced gif")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + b"!\xfe" + b"\x01a" * 1_000_000 + b"\0" + data[at:]


def frames(kind: str, count: int, **options: Any) -> bytes:
    several = [Image.new("RGB", (16, 16), (index % 256, index // 256, 0)) for index in range(count)]
    return save(several[0], kind, save_all=True, append_images=several[1:], **options)


def heic_of_pictures(count: int, **options: Any) -> bytes:
    """Small pictures in one file, which the fast preset of x265 draws in 10 ms each."""
    return frames("heif", count, enc_params={"preset": "ultrafast"}, **options)


def heic_of_shared_exif(count: int, megabytes: int) -> bytes:
    """Pictures whose EXIF items all point to the bytes of the first."""
    file = pillow_heif.HeifFile()
    for index in range(count):
        exif = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(1000 if index else megabytes << 20)
        file.add_from_pillow(Image.new("RGB", (16, 16))).info["exif"] = exif
    written = io.BytesIO()
    file.save(written, quality=1, enc_params={"preset": "ultrafast"})
    data = written.getvalue()
    start = data.index(b"iloc")
    end = start - 4 + int.from_bytes(data[start - 4 : start], "big")
    entries = [data[at : at + 18] for at in range(start + 12, end, 18)]  # item, base, extents, offset, length
    largest = max(entries, key=lambda entry: entry[-4:])
    small = sorted(entry[-4:] for entry in entries)[-2]
    shared = b"".join(entry[:2] + largest[2:] if entry[-4:] == small else entry for entry in entries)
    return data[: start + 12] + shared + data[end:]


def heic_of_shared_profile(count: int, megabytes: int) -> bytes:
    """Pictures with one colour profile, which is stored once."""
    return heic_of_pictures(count, icc_profile=bytes(megabytes << 20))


def png_of_frames(count: int) -> bytes:
    data = png(1, 1, 8, 0, b"\0\x07", chunk(b"acTL", struct.pack(">2I", count, 0)))
    frame = chunk(b"fcTL", struct.pack(">5I2H2B", 0, 1, 1, 0, 0, 1, 1, 0, 0))
    return data[:-12] + frame * count + data[-12:]


def tiff_of_frames(count: int) -> bytes:
    """Pages of one directory each."""
    page, size = tiff_of({}, bytes(64), 8, 8)[72:-4], 2 + 9 * 12 + 4
    return tiff_of({}, bytes(64), 8, 8)[:72] + b"".join(
        page + struct.pack("<I", 72 + size * (index + 1) if index + 1 < count else 0) for index in range(count)
    )


def tiff_of_pages(count: int) -> bytes:
    page = tiff_of({}, bytes(64), 8, 8)
    return page[:-4] + struct.pack("<I", 8 + 64) + page[-4:] * count


def jpeg_of_scans() -> bytes:
    data = drawn.encode(PICTURE, progressive=True)
    last = data.rindex(b"\xff\xda")
    empty = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return data[:-2] + empty * 100_000 + b"\xff\xd9"


def jpeg_of_segments() -> bytes:
    data = sample("jpeg")
    return data[:2] + b"\xff\xe2\0\x0fICC_PROFILE\0\1" * 1_000_000 + data[2:]


def text_in_png() -> bytes:
    text = [chunk(b"zTXt", b"work%d\0\0" % part + zeros(16 << 20)) for part in range(40)]
    return png(1, 1, 8, 0, b"\0\x07", *text)


def profile_in_png() -> bytes:
    return png(1, 1, 8, 0, b"\0\x07", chunk(b"iCCP", b"p\0\0" + zeros(1 << 30)))


def chunks_in_png() -> bytes:
    return png(1, 1, 8, 0, b"\0\x07", chunk(b"teXt", b"") * 1_000_000)


_add("gif of a million pieces", gif_of_pieces)
_add("gif of 2,000 frames", frames, "gif", 2_000)
_add("webp of 2,000 frames", frames, "webp", 2_000)
_add("avif of 2,000 frames", frames, "avif", 2_000, speed=10)
_add("heic of 300 pictures", heic_of_pictures, 300)
_add("heic of 200 pictures with one EXIF", heic_of_shared_exif, 200, 8)
_add("heic of 60 pictures with one profile", heic_of_shared_profile, 60, 20)
_add("png of a million frames", png_of_frames, 1_000_000)
_add("tiff of 2,000 pages", tiff_of_frames, 2_000)
_add("tiff whose pages go in circles", tiff_of_pages, 100_000)
_add("jpeg of 100,000 scans", jpeg_of_scans)
_add("jpeg of a million segments", jpeg_of_segments)
_add("png with 640 MB of text", text_in_png)
_add("png with a profile of 1 GB", profile_in_png)
_add("png of a million chunks", chunks_in_png)
_add("webp canvas of 268 million pixels", lambda: _canvas())


def _canvas() -> bytes:
    data = bytearray(drawn.encode(PICTURE, "webp", exif=b"Exif\0\0II*\0"))
    data[24:30] = (16_383).to_bytes(3, "little") * 2
    return bytes(data)


# Seeds for fuzzing.
_SMALL = ("j2k", "jp2", "tiff of a million", "gif of 2", "webp of 2", "avif of 2", "png with EXIF of 1.4 GB as")
SMALL = [name for name in CORPUS if name.startswith(_SMALL)]


def measure(files: Iterable[tuple[str, bytes]]) -> dict[str, dict[str, Any]]:
    """Decode each file in a process of its own.

    Returns:
        By name: bytes of memory above the idle process, seconds of CPU time, and what came out of the file. A file that
        ended its process has only a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for index, (name, data) in enumerate(files):
            (Path(folder) / f"{index:03}").write_bytes(data)
            names.append(name)
        command = [sys.executable, __file__, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


def _memory(field: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(field))


def _decode(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    idle, since = _memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    try:
        image = decode.decode_image(data, min_side=704)
        result = f"{image.width} x {image.height}"
    except DecodeError as error:
        result = f"{type(error).__name__}: {error}"
    return {"peak": _memory("VmHWM") - idle, "seconds": time.process_time() - since, "result": result}


def _decode_all(folder: Path) -> None:
    """Print a line a file. Each is decoded in a fork, which starts at once and with the memory of this process."""
    decode.decode_image(sample("jpeg"), min_side=704)  # loads what every file needs
    for path in sorted(folder.iterdir()):
        sys.stdout.flush()
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            if status:
                print(json.dumps({"result": f"ended with status {status}"}))
        else:
            print(json.dumps(_decode(path)), flush=True)
            os._exit(0)


if __name__ == "__main__":
    _decode_all(Path(sys.argv[1]))
