from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pictures import BLUE, GREEN, PICTURE, RED, WHITE, assert_near, chunk, middles, patches, pixels, png, save, tiff
from PIL import Image, ImageCms

from transforms.errors import NotAnImage
from transforms.imaging import drawn

# Modes


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "jpeg", "jpeg2000"])
def test_grey(kind: str) -> None:
    assert middles(save(patches(0, 100, 255, mode="L"), kind)) == [(0, 0, 0), (100, 100, 100), WHITE]


@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("bmp", {}), ("tiff", {"compression": "group4"})])
def test_one_bit(kind: str, options: dict[str, Any]) -> None:
    assert middles(save(patches(0, 255, mode="1"), kind, **options)) == [(0, 0, 0), WHITE]


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff"])
def test_palette(kind: str) -> None:
    colours = [(200, 10, 30), (1, 2, 3), (255, 254, 253)]
    assert middles(save(patches(*colours).quantize(8), kind)) == colours


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_one_transparent_colour_of_a_palette_is_white(kind: str) -> None:
    image = patches(RED, BLUE).quantize(4)
    assert middles(save(image, kind, transparency=image.getpixel((0, 0)))) == [WHITE, BLUE]


def test_a_palette_with_transparencies() -> None:
    image = patches(RED, BLUE).quantize(2)
    alphas = bytes([128, 255] if image.getpixel((0, 0)) == 0 else [255, 128])
    assert middles(save(image, "png", transparency=alphas)) == [(255, 127, 127), BLUE]


@pytest.mark.parametrize(
    ("kind", "options"), [("png", {}), ("webp", {"lossless": True, "exact": True}), ("tiff", {}), ("jpeg2000", {})]
)
def test_transparency_lies_on_white(kind: str, options: dict[str, Any]) -> None:
    image = patches((200, 100, 0, 255), (200, 100, 0, 0), (0, 0, 0, 51), mode="RGBA")
    assert middles(save(image, kind, **options)) == [(200, 100, 0), WHITE, (204, 204, 204)]


@pytest.mark.parametrize("kind", ["heif", "avif"])
def test_transparency_of_lossy_formats(kind: str) -> None:
    data = save(patches((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"), kind, quality=95)
    assert_near(middles(data), [(0, 0, 0), WHITE], within=8)


def test_transparent_grey() -> None:
    assert middles(save(patches((100, 255), (100, 0), (0, 51), mode="LA"), "png")) == [(100,) * 3, WHITE, (204,) * 3]


def test_one_transparent_colour_without_palette() -> None:
    assert middles(save(patches(RED, BLUE), "png", transparency=RED)) == [WHITE, BLUE]
    assert middles(save(patches(10, 20, mode="L"), "png", transparency=10)) == [WHITE, (20, 20, 20)]


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian tiff", "tiff lzw", "jp2"])
def test_sixteen_bits_of_grey_are_scaled(kind: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    if kind == "big-endian tiff":
        data = save(Image.frombytes("I;16B", (64, 64), values.astype(">u2").tobytes()), "tiff")
    elif kind == "jp2":
        data = save(Image.fromarray(values), "jpeg2000")
    else:
        options = {"compression": "tiff_lzw"} if kind == "tiff lzw" else {}
        data = save(Image.fromarray(values), kind.split()[0], **options)
    want = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(pixels(data), np.repeat(want[..., None], 3, axis=2))


def test_white_may_be_zero_in_sixteen_bits() -> None:
    data = tiff({258: 16, 262: 0}, struct.pack("<4H", 0, 257, 65535 - 257, 65535), 4, 1)
    assert pixels(data)[0, :, 0].tolist() == [255, 254, 1, 0]


def test_twelve_bits() -> None:
    data = tiff({258: 12}, bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00]), 4, 1)
    assert pixels(data)[0, :, 0].tolist() == [0, 255, 128, 0]


def test_sixteen_bits_of_colour() -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 257, 65535, 0x8080, 0x7F7F, 1) for _ in range(2))
    np.testing.assert_array_equal(pixels(png(2, 2, 16, 2, rows)), [[[0, 1, 255], [128, 127, 0]]] * 2)


def test_one_transparent_grey_of_sixteen_bits() -> None:
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 2570), chunk(b"tRNS", struct.pack(">H", 1000)))
    assert pixels(data).tolist() == [[list(WHITE), [10, 10, 10]]]


def test_integers_beyond_sixteen_bits_are_refused() -> None:
    with pytest.raises(NotAnImage, match="grey from 0 to 70,000 has no standard range"):
        pixels(save(Image.fromarray(np.array([[0, 70_000]], np.int32)), "tiff"))


def test_floating_point_is_refused() -> None:
    with pytest.raises(NotAnImage, match="floating-point pixels have no standard range"):
        pixels(save(Image.fromarray(np.zeros((2, 2), np.float32)), "tiff"))


def test_cmyk_of_a_tiff() -> None:
    assert middles(save(patches((0, 255, 255, 0), (0, 0, 0, 0), mode="CMYK"), "tiff")) == [RED, WHITE]


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_and_ycck_of_a_jpeg_are_inverted_once(transform: int) -> None:
    data = bytearray(save(patches((0, 255, 255, 0), (0, 0, 0, 0), (0, 0, 0, 255), mode="CMYK"), "jpeg", quality=95))
    if transform == 2:  # the same inks as YCCK: the first three as if they were red, green and blue
        inks = patches((0, 255, 255), (0, 0, 0), (0, 0, 0)).convert("YCbCr").split()
        stored = [*(band.point(lambda value: 255 - value) for band in inks), patches(0, 0, 255, mode="L")]
        data = bytearray(save(Image.merge("CMYK", stored), "jpeg", quality=95))
        data[data.index(b"Adobe\0") + 11] = 2
    assert_near(middles(bytes(data)), [RED, WHITE, (0, 0, 0)], within=4)


# Profiles


def profile(space: bytes, **tags: bytes) -> bytes:
    """An ICC profile, version 2, from the data of its tags."""
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\x02\x40\0\0", b"mntr" + space + b"XYZ ", b"acsp"
    if space == b"CMYK":
        head[12:24] = b"prtrCMYKLab "
    head[68:80] = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += tag.encode() + struct.pack(">2I", 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head[:4] = struct.pack(">I", 132 + 12 * len(tags) + len(body))
    return bytes(head) + table + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in (x, y, z)))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


R, G, B = xyz(0.4361, 0.2225, 0.0139), xyz(0.3851, 0.7169, 0.0971), xyz(0.1431, 0.0606, 0.7141)  # sRGB's, at D50
LINEAR = dict.fromkeys(("rTRC", "gTRC", "bTRC"), gamma(1))
LINEAR_RGB = profile(b"RGB ", wtpt=xyz(0.9642, 1, 0.8249), rXYZ=R, gXYZ=G, bXYZ=B, **LINEAR)
SWAPPED_RGB = profile(b"RGB ", wtpt=xyz(0.9642, 1, 0.8249), rXYZ=B, gXYZ=G, bXYZ=R, **LINEAR)
LINEAR_GREY = profile(b"GRAY", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1))
# Coloured inks do nothing, black goes from white to black in L*.
IDENTITY = bytes(range(256))
GREY_CMYK = profile(
    b"CMYK",
    wtpt=xyz(0.9642, 1, 0.8249),
    A2B0=b"mft1\0\0\0\0\x04\x03\x02\0"
    + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    + IDENTITY * 4
    + bytes([255, 128, 128, 0, 128, 128]) * 8
    + IDENTITY * 3,
)
HALF = 188  # what half of the light is in sRGB


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg", "webp", "heif", "avif"])  # Pillow reads none of JPEG 2000
def test_profiles_are_followed(kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {"quality": 95}
    data = save(patches(RED, GREEN, BLUE), kind, icc_profile=SWAPPED_RGB, **options)
    assert_near(middles(data), [BLUE, GREEN, RED], within=16 if kind in ("heif", "avif", "jpeg") else 1)


def test_profiles_change_the_curve() -> None:
    assert_near(middles(save(patches((128, 128, 128)), "png", icc_profile=LINEAR_RGB)), [(HALF,) * 3], within=1)


def test_profiles_of_grey_and_of_palettes() -> None:
    grey, white = patches(128, 255, mode="L"), (HALF,) * 3
    for icc in (LINEAR_GREY, LINEAR_RGB):
        assert_near(middles(save(grey, "png", icc_profile=icc)), [white, WHITE], within=1)
    assert_near(middles(save(patches(RED).quantize(2), "png", icc_profile=SWAPPED_RGB)), [BLUE], within=1)


def test_profiles_of_cmyk() -> None:
    for kind in ("tiff", "jpeg"):
        data = save(patches((0, 255, 255, 0), (0, 0, 0, 128), mode="CMYK"), kind, icc_profile=GREY_CMYK)
        assert_near(middles(data), [WHITE, (118,) * 3], within=2)  # L* = 49.8


def test_a_profile_does_not_tint_the_white_below() -> None:
    dark = profile(b"RGB ", wtpt=xyz(0.9642, 1, 0.8249), rXYZ=R, gXYZ=G, bXYZ=B, **dict.fromkeys(LINEAR, gamma(4)))
    image = patches((255, 0, 0, 255), (255, 0, 0, 0), (128, 128, 128, 128), mode="RGBA")
    low = 255 * (1.055 * ((128 / 255) ** 4) ** (1 / 2.4) - 0.055)  # 71
    half = round(low * 128 / 255 + 127)
    assert_near(middles(save(image, "png", icc_profile=dark)), [RED, WHITE, (half,) * 3], within=2)


def test_srgb_is_left_alone() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", icc_profile=srgb)), PICTURE)


@pytest.mark.parametrize(
    "icc", [b"nonsense", LINEAR_RGB[:150], LINEAR_RGB[:128] + bytes(200), LINEAR_GREY, GREY_CMYK], ids=repr
)
def test_profiles_that_are_broken_or_not_the_pictures_are_ignored(icc: bytes) -> None:
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", icc_profile=icc)), PICTURE)


def test_threads_may_share_a_profile() -> None:
    files = [drawn.encode(drawn.draw(seed, 64, 64), "png", icc_profile=LINEAR_RGB) for seed in range(8)] * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, files))
    for data, got in zip(files, together, strict=True):
        np.testing.assert_array_equal(got, pixels(data))
