from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from pictures import LOSSLESS, LOSSY, PICTURE, RED, chunk, patches, pixels, png, sample, save, tiff
from PIL import Image

from transforms.errors import Corrupt, DecodeError, NotAnImage, TooManyPixels, Truncated
from transforms.imaging import drawn, formats, slots


def pixels_or_error(data: bytes) -> drawn.Pixels | DecodeError:
    try:
        return pixels(data)
    except DecodeError as error:
        return error


# What is no picture, or not all of it


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF", b"\0\0\0\x18ftypmp42"])
def test_unknown_formats(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="starts with b'"):
        pixels(data)


def test_previews_are_not_the_picture() -> None:
    with pytest.raises(NotAnImage, match="raw files of cameras"):
        pixels(save(patches(RED), "tiff", tiffinfo={254: 1}))


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_truncated_files(name: str) -> None:
    data = sample(name)
    whole = pixels(data)
    cuts = {1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 30, 40, 60, 100}
    cuts |= {len(data) * part // 32 for part in range(1, 32)} | {len(data) - rest for rest in range(1, 17)}
    for cut in sorted(cut for cut in cuts if cut < len(data)):
        got = pixels_or_error(data[:cut])
        where = f"{name} cut to {cut:,} of {len(data):,} bytes gives {got!r}"
        if isinstance(got, DecodeError):
            assert isinstance(got, (NotAnImage, Truncated) if cut < 40 else Truncated), where
            assert isinstance(got, NotAnImage) or f"{cut:,} bytes" in str(got)
        else:  # only what comes after the picture is missing
            assert cut >= len(data) - 4, where
            np.testing.assert_array_equal(got, whole)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("min_side", [None, 100])
def test_truncated_large_jpegs(options: dict[str, Any], min_side: int | None) -> None:
    data = drawn.encode(drawn.draw(5, 900, 700), quality=95, **options)
    for part in range(1, 24):
        with pytest.raises(Truncated):
            pixels(data[: len(data) * part // 24], min_side=min_side)
    with pytest.raises(Truncated):
        pixels(data[:-2], min_side=min_side)


def test_a_gif_whose_later_frames_are_missing_still_has_its_first() -> None:
    frames = [Image.fromarray(drawn.draw(seed, 40, 40)).quantize(16) for seed in (1, 2)]
    whole, first = save(frames[0], "gif", save_all=True, append_images=frames[1:]), save(frames[0], "gif")
    np.testing.assert_array_equal(pixels(whole[:-100]), pixels(first))


# Bombs


def declare(name: str, width: int, height: int) -> bytes:
    """A small file that says it is larger."""
    data = bytearray(sample(name))
    if name == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">2H", height, width)
    elif name == "interlaced gif":
        data[6:10] = struct.pack("<2H", width, height)
    elif name == "bmp":
        data[18:26] = struct.pack("<2i", width, height)
    elif name == "webp":
        data[21:25] = struct.pack("<I", width - 1 | (height - 1) << 14)
    elif name in ("jp2", "j2k"):
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = struct.pack(">2I", width, height)
    elif name in ("heic", "avif"):
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">2I", width, height)
    elif name == "tiff":
        return tiff({}, bytes(100), width, height)
    elif name == "png":
        return png(width, height, 1, 0, bytes(100))
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("png", 60_000),
        ("jpeg", 60_000),
        ("interlaced gif", 60_000),
        ("bmp", 60_000),
        ("webp", 16_000),
        ("tiff", 60_000),
        ("jp2", 60_000),
        ("j2k", 60_000),
        ("heic", 20_000),
        ("avif", 16_000),
    ],
)
def test_bombs_are_refused_from_their_header(name: str, side: int) -> None:
    data = declare(name, side, side)
    tracemalloc.start()
    with pytest.raises(TooManyPixels, match=rf"{side:,} x {side:,} = {side * side:,} pixels.*raise --max-pixels"):
        pixels(data, min_side=640)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_limit_is_on_the_picture_not_on_what_is_decoded_of_it() -> None:
    data = drawn.encode(drawn.draw(1, 640, 480))
    assert pixels(data, min_side=60, max_pixels=640 * 480).shape == (60, 80, 3)
    with pytest.raises(TooManyPixels, match="640 x 480 = 307,200 pixels, more than 307,199"):
        pixels(data, min_side=60, max_pixels=640 * 480 - 1)


def test_a_webp_canvas_is_refused_before_it_is_allocated() -> None:
    data = bytearray(drawn.encode(PICTURE, "webp", exif=b"Exif\0\0II*\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_383).to_bytes(3, "little") * 2
    with pytest.raises(TooManyPixels, match="16,384 x 16,384"):
        pixels(bytes(data))


def test_texts_of_a_png_are_skipped_whatever_their_size() -> None:
    text = [chunk(b"zTXt", b"work%d\0\0" % part + zlib.compress(bytes(8 << 20))) for part in range(9)]
    broken = [
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        b"\0\0\0\0tEXtcrc?",
    ]
    assert pixels(png(1, 1, 8, 0, b"\0\x07", *text, *broken)).tolist() == [[[7, 7, 7]]]


def test_a_gif_whose_first_frame_is_larger_than_its_canvas() -> None:
    data = bytearray(sample("interlaced gif"))
    want = pixels(bytes(data))
    data[6:10] = struct.pack("<2H", 5, 5)
    np.testing.assert_array_equal(pixels(bytes(data)), want)
    assert slots.pixels_in_memory(bytes(data)) == want.shape[0] * want.shape[1]


def test_headers_in_too_many_pieces() -> None:
    data = sample("interlaced gif")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    with pytest.raises(Corrupt, match="more than 10,000 pieces"):
        pixels(data[:at] + b"!\xfe" + b"\x01a" * 1_000_000 + b"\0" + data[at:])


@pytest.mark.parametrize("length", [2, 3, 4096, 4097])
def test_pairs_are_counted_at_odd_and_even_positions(length: int) -> None:
    data = bytes(np.random.RandomState(length).choice([0xFF, 0xDA, 0x00], length).astype(np.uint8))
    assert formats.count_pairs(data, b"\xff\xda") == data.count(b"\xff\xda")


def test_jpegs_of_too_many_scans() -> None:
    data = drawn.encode(PICTURE, progressive=True)
    last = data.rindex(b"\xff\xda")
    empty = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    with pytest.raises(Corrupt, match=r"this JPEG has 1,\d+ scans"):
        pixels(data[:-2] + empty * 1000 + b"\xff\xd9")
    behind = data + empty * 1000  # as in a video behind the picture
    np.testing.assert_array_equal(pixels(behind), pixels(data))


def test_bmps_that_skip_rows_of_millions() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 90_000_000, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    with pytest.raises(TooManyPixels, match="90,000,000 x 1 pixels; the longest side may have 65,500"):
        pixels(b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + head + bytes(1024) + b"\0\2\xff\xff")


def test_tiles_larger_than_the_picture() -> None:
    tile = {322: 40_000, 323: 40_000, 324: 8, 325: 100, 258: 8, 259: 8}
    with pytest.raises(TooManyPixels, match="TIFF's tile has 40,000 x 40,000"):
        pixels(tiff(tile, bytes(100), 64, 64))
