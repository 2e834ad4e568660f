from __future__ import annotations

import io
import struct
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from transforms.errors import (
    Corrupt,
    DecodeError,
    EmptyFile,
    NotAnImage,
    TooManyPixels,
    Truncated,
)
from transforms.imaging import decode, drawn

# As in production, where transforms.imaging.decode sees to it; pytest forgets the filters of an import.
pytestmark = [
    pytest.mark.filterwarnings("ignore:::PIL.TiffImagePlugin"),
    pytest.mark.filterwarnings("ignore:::PIL.PngImagePlugin"),
]

PICTURE = drawn.draw(3, 48, 40)
SMOOTH = np.asarray(Image.fromarray(drawn.draw(4, 12, 9)).resize((96, 72), Image.Resampling.BICUBIC))
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

LOSSLESS = {
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
LOSSY = {
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


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes, **options: int) -> np.ndarray:
    return decode.decode_image(data, **options).pixels


def patches(*colours: object, mode: str = "RGB") -> Image.Image:
    """A picture with one square of 16 x 16 pixels a colour."""
    image = Image.new(mode, (16 * len(colours), 16))
    for index, colour in enumerate(colours):
        image.paste(colour, (16 * index, 0, 16 * index + 16, 16))
    return image


def middles(data: bytes) -> list[tuple[int, ...]]:
    """The colour in the middle of each square of ``patches``."""
    return [tuple(map(int, colour)) for colour in pixels(data)[8, 8::16]]


def pixels_or_error(data: bytes) -> np.ndarray | DecodeError:
    try:
        return pixels(data)
    except DecodeError as error:
        return error


def assert_near(got: list[tuple[int, ...]], want: list[tuple[int, ...]], within: int) -> None:
    assert np.abs(np.array(got) - np.array(want)).max() <= within, f"{got} is not near {want}"


# Formats


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_exactly(name):
    want = PICTURE if "gif" not in name else np.where(PICTURE > 127, 255, 0)
    decoded = decode.decode_image(sample(name))
    np.testing.assert_array_equal(decoded.pixels, want)
    assert (decoded.width, decoded.height) == (48, 40)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_come_back_nearly(name):
    got = pixels(sample(name))
    assert got.shape == SMOOTH.shape
    assert np.abs(got.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif", "tiff"])
def test_the_first_of_several_frames(kind):
    first, second = patches(RED, GREEN), patches(BLUE, BLUE)
    data = save(first, kind, save_all=True, append_images=[second])
    assert_near(middles(data), [RED, GREEN], within=6)


def test_the_primary_picture_of_a_heic():
    data = save(patches(BLUE), "heif", save_all=True, append_images=[patches(RED)], primary_index=1)
    assert_near(middles(data), [RED], within=8)


# Modes


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "jpeg", "jpeg2000"])
def test_grey(kind):
    assert middles(save(patches(0, 100, 255, mode="L"), kind)) == [(0, 0, 0), (100, 100, 100), WHITE]


@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("bmp", {}), ("tiff", {"compression": "group4"})])
def test_one_bit(kind, options):
    assert middles(save(patches(0, 255, mode="1"), kind, **options)) == [(0, 0, 0), WHITE]


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff"])
def test_palette(kind):
    colours = [(200, 10, 30), (1, 2, 3), (255, 254, 253)]
    assert middles(save(patches(*colours).quantize(8), kind)) == colours


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_one_transparent_colour_of_a_palette_is_white(kind):
    image = patches(RED, BLUE).quantize(4)
    assert middles(save(image, kind, transparency=image.getpixel((0, 0)))) == [WHITE, BLUE]


def test_a_palette_with_transparencies():
    image = patches(RED, BLUE).quantize(2)
    alphas = bytes([128, 255] if image.getpixel((0, 0)) == 0 else [255, 128])
    assert middles(save(image, "png", transparency=alphas)) == [(255, 127, 127), BLUE]


@pytest.mark.parametrize(
    ("kind", "options"), [("png", {}), ("webp", {"lossless": True, "exact": True}), ("tiff", {}), ("jpeg2000", {})]
)
def test_transparency_lies_on_white(kind, options):
    image = patches((200, 100, 0, 255), (200, 100, 0, 0), (0, 0, 0, 51), mode="RGBA")
    assert middles(save(image, kind, **options)) == [(200, 100, 0), WHITE, (204, 204, 204)]


@pytest.mark.parametrize("kind", ["heif", "avif"])
def test_transparency_of_lossy_formats(kind):
    data = save(patches((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"), kind, quality=95)
    assert_near(middles(data), [(0, 0, 0), WHITE], within=8)


def test_transparent_grey():
    assert middles(save(patches((100, 255), (100, 0), (0, 51), mode="LA"), "png")) == [(100,) * 3, WHITE, (204,) * 3]


def test_one_transparent_colour_without_palette():
    assert middles(save(patches(RED, BLUE), "png", transparency=RED)) == [WHITE, BLUE]
    assert middles(save(patches(10, 20, mode="L"), "png", transparency=10)) == [WHITE, (20, 20, 20)]


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian tiff", "tiff lzw", "jp2"])
def test_sixteen_bits_of_grey_are_scaled(kind):
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


def test_white_may_be_zero_in_sixteen_bits():
    data = tiff({258: 16, 262: 0}, struct.pack("<4H", 0, 257, 65535 - 257, 65535), 4, 1)
    assert pixels(data)[0, :, 0].tolist() == [255, 254, 1, 0]


def test_twelve_bits():
    data = tiff({258: 12}, bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00]), 4, 1)
    assert pixels(data)[0, :, 0].tolist() == [0, 255, 128, 0]


def test_sixteen_bits_of_colour():
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 257, 65535, 0x8080, 0x7F7F, 1) for _ in range(2))
    np.testing.assert_array_equal(pixels(png(2, 2, 16, 2, rows)), [[[0, 1, 255], [128, 127, 0]]] * 2)


def test_one_transparent_grey_of_sixteen_bits():
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 2570), chunk(b"tRNS", struct.pack(">H", 1000)))
    assert pixels(data).tolist() == [[list(WHITE), [10, 10, 10]]]


def test_integers_beyond_sixteen_bits_are_refused():
    with pytest.raises(NotAnImage, match="grey from 0 to 70,000 has no agreed range"):
        pixels(save(Image.fromarray(np.array([[0, 70_000]], np.int32)), "tiff"))


def test_floating_point_is_refused():
    with pytest.raises(NotAnImage, match="floating-point pixels have no agreed range"):
        pixels(save(Image.fromarray(np.zeros((2, 2), np.float32)), "tiff"))


def test_cmyk_of_a_tiff():
    assert middles(save(patches((0, 255, 255, 0), (0, 0, 0, 0), mode="CMYK"), "tiff")) == [RED, WHITE]


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_and_ycck_of_a_jpeg_are_inverted_once(transform):
    data = bytearray(save(patches((0, 255, 255, 0), (0, 0, 0, 0), (0, 0, 0, 255), mode="CMYK"), "jpeg", quality=95))
    if transform == 2:  # the same inks as YCCK: the first three as if they were red, green and blue
        inks = patches((0, 255, 255), (0, 0, 0), (0, 0, 0)).convert("YCbCr").split()
        stored = [*(band.point(lambda value: 255 - value) for band in inks), patches(0, 0, 255, mode="L")]
        data = bytearray(save(Image.merge("CMYK", stored), "jpeg", quality=95))
        data[data.index(b"Adobe\0") + 11] = 2
    assert_near(middles(bytes(data)), [RED, WHITE, (0, 0, 0)], within=4)


# Orientation

STORED = {  # EXIF orientation -> how an upright picture lies in such a file
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.transpose(1, 0, 2),
    6: lambda up: np.rot90(up, 1),
    7: lambda up: up[::-1, ::-1].transpose(1, 0, 2),
    8: lambda up: np.rot90(up, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["png", "webp", "tiff", "tiff lzw", "jpeg", "heic", "avif"])
def test_pictures_are_upright(name, orientation):
    kind, options = (LOSSLESS | LOSSY)[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lies = np.ascontiguousarray(STORED[orientation](SMOOTH))
    decoded = decode.decode_image(drawn.encode(lies, kind, exif=exif.tobytes(), **options))
    assert (decoded.width, decoded.height) == (96, 72)
    assert decoded.pixels.shape == (72, 96, 3)
    assert np.abs(decoded.pixels.astype(int) - SMOOTH).mean() < (3 if name in LOSSY else 1e-9)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_are_none_are_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", exif=exif)), PICTURE)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_broken_exif_is_ignored(exif):
    np.testing.assert_array_equal(pixels(drawn.encode(SMOOTH, exif=exif)), pixels(drawn.encode(SMOOTH)))


# Colour


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
def test_profiles_are_followed(kind):
    options = {"lossless": True} if kind == "webp" else {"quality": 95}
    data = save(patches(RED, GREEN, BLUE), kind, icc_profile=SWAPPED_RGB, **options)
    assert_near(middles(data), [BLUE, GREEN, RED], within=16 if kind in ("heif", "avif", "jpeg") else 1)


def test_profiles_change_the_curve():
    assert_near(middles(save(patches((128, 128, 128)), "png", icc_profile=LINEAR_RGB)), [(HALF,) * 3], within=1)


def test_profiles_of_grey_and_of_palettes():
    grey, white = patches(128, 255, mode="L"), (HALF,) * 3
    for icc in (LINEAR_GREY, LINEAR_RGB):
        assert_near(middles(save(grey, "png", icc_profile=icc)), [white, WHITE], within=1)
    assert_near(middles(save(patches(RED).quantize(2), "png", icc_profile=SWAPPED_RGB)), [BLUE], within=1)


def test_profiles_of_cmyk():
    for kind in ("tiff", "jpeg"):
        data = save(patches((0, 255, 255, 0), (0, 0, 0, 128), mode="CMYK"), kind, icc_profile=GREY_CMYK)
        assert_near(middles(data), [WHITE, (118,) * 3], within=2)  # L* = 49.8


def test_a_profile_does_not_tint_the_white_below():
    dark = profile(b"RGB ", wtpt=xyz(0.9642, 1, 0.8249), rXYZ=R, gXYZ=G, bXYZ=B, **dict.fromkeys(LINEAR, gamma(4)))
    image = patches((255, 0, 0, 255), (255, 0, 0, 0), (128, 128, 128, 128), mode="RGBA")
    low = 255 * (1.055 * ((128 / 255) ** 4) ** (1 / 2.4) - 0.055)  # 71
    half = round(low * 128 / 255 + 127)
    assert_near(middles(save(image, "png", icc_profile=dark)), [RED, WHITE, (half,) * 3], within=2)


def test_srgb_is_left_alone():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", icc_profile=srgb)), PICTURE)


@pytest.mark.parametrize(
    "icc", [b"nonsense", LINEAR_RGB[:150], LINEAR_RGB[:128] + bytes(200), LINEAR_GREY, GREY_CMYK], ids=repr
)
def test_profiles_that_are_broken_or_not_the_pictures_are_ignored(icc):
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", icc_profile=icc)), PICTURE)


def test_threads_may_share_a_profile():
    files = [drawn.encode(drawn.draw(seed, 64, 64), "png", icc_profile=LINEAR_RGB) for seed in range(8)] * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, files))
    for data, got in zip(files, together, strict=True):
        np.testing.assert_array_equal(got, pixels(data))


# Scaled decoding


@pytest.mark.parametrize(
    ("min_side", "shape"), [(None, (480, 640)), (481, (480, 640)), (240, (240, 320)), (60, (60, 80))]
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_large_jpegs_are_decoded_scaled(min_side, shape, options):
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, 640, 480), **options), min_side=min_side)
    assert decoded.pixels.shape == (*shape, 3)
    assert (decoded.width, decoded.height) == (640, 480)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_the_shorter_side_is_kept(width, height, min_side):
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, width, height)), min_side=min_side)
    assert min(decoded.pixels.shape[:2]) >= min(width, height, min_side)
    assert (decoded.width, decoded.height) == (width, height)


def test_scaled_jpegs_are_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, 640, 480), exif=exif), min_side=120)
    assert decoded.pixels.shape == (160, 120, 3)
    assert (decoded.width, decoded.height) == (480, 640)


@pytest.mark.parametrize(("large", "at_once"), [(48 * 40 - 1, 1), (48 * 40, 4)])
def test_large_pictures_are_decoded_one_at_a_time(monkeypatch, large, at_once):
    together, met = threading.Barrier(at_once), []
    srgb = decode._srgb

    def wait(image):
        met.append(together.wait(timeout=10))
        assert decode._one_large.locked() == (at_once == 1)
        return srgb(image)

    monkeypatch.setattr(decode, "LARGE", large)
    monkeypatch.setattr(decode, "_srgb", wait)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(pixels, [sample("png")] * 4):
            np.testing.assert_array_equal(got, PICTURE)
    assert len(met) == 4


# What cannot be decoded


def test_no_bytes():
    with pytest.raises(EmptyFile, match="the file holds no bytes"):
        pixels(b"")


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_image(data):
    with pytest.raises(NotAnImage, match="starts with b'"):
        pixels(data)


def test_previews_are_not_the_picture():
    with pytest.raises(NotAnImage, match="raw files of cameras"):
        pixels(save(patches(RED), "tiff", tiffinfo={254: 1}))


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_files_that_are_cut_off(name):
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
def test_large_jpegs_that_are_cut_off(options, min_side):
    data = drawn.encode(drawn.draw(5, 900, 700), quality=95, **options)
    for part in range(1, 24):
        with pytest.raises(Truncated):
            pixels(data[: len(data) * part // 24], min_side=min_side)
    with pytest.raises(Truncated):
        pixels(data[:-2], min_side=min_side)


def test_a_gif_whose_later_frames_are_missing_still_has_its_first():
    frames = [Image.fromarray(drawn.draw(seed, 40, 40)).quantize(16) for seed in (1, 2)]
    whole, first = save(frames[0], "gif", save_all=True, append_images=frames[1:]), save(frames[0], "gif")
    np.testing.assert_array_equal(pixels(whole[:-100]), pixels(first))


def test_broken_data_is_corrupt():
    data = bytearray(sample("png"))
    at = data.index(b"IDAT") + 20
    data[at : at + 8] = b"\xff" * 8
    with pytest.raises(Corrupt, match="this PNG cannot be decoded: broken data stream"):
        pixels(bytes(data))


def test_unsupported_kinds_say_why():
    data = bytearray(sample("jpeg"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(Corrupt, match="this JPEG cannot be decoded: cannot handle 12-bit layers"):
        pixels(bytes(data))


# Bombs


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
def test_bombs_are_refused_from_their_header(name, side):
    data = declare(name, side, side)
    tracemalloc.start()
    with pytest.raises(TooManyPixels, match=rf"{side:,} x {side:,} = {side * side:,} pixels.*raise --max-pixels"):
        pixels(data, min_side=640)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_limit_is_on_the_picture_not_on_what_is_decoded_of_it():
    data = drawn.encode(drawn.draw(1, 640, 480))
    assert pixels(data, min_side=60, max_pixels=640 * 480).shape == (60, 80, 3)
    with pytest.raises(TooManyPixels, match="640 x 480 = 307,200 pixels, more than 307,199"):
        pixels(data, min_side=60, max_pixels=640 * 480 - 1)


def test_a_webp_canvas_is_refused_before_it_is_allocated():
    data = bytearray(drawn.encode(PICTURE, "webp", exif=b"Exif\0\0II*\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_383).to_bytes(3, "little") * 2
    with pytest.raises(TooManyPixels, match="16,384 x 16,384"):
        pixels(bytes(data))


def test_large_text_is_no_reason_to_fail_but_a_text_bomb_is():
    text = [chunk(b"zTXt", b"work%d\0\0" % part + zlib.compress(bytes(8 << 20))) for part in range(9)]
    assert pixels(png(1, 1, 8, 0, b"\0\x07", *text[:2])).tolist() == [[[7, 7, 7]]]
    with pytest.raises(Corrupt, match="Too much memory used in text chunks"):
        pixels(png(1, 1, 8, 0, b"\0\x07", *text))


def test_headers_in_too_many_pieces():
    data = sample("interlaced gif")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    with pytest.raises(Corrupt, match="more than 10,000 pieces"):
        pixels(data[:at] + b"!\xfe" + b"\x01a" * 1_000_000 + b"\0" + data[at:])


def test_jpegs_of_too_many_scans():
    data = drawn.encode(PICTURE, progressive=True)
    last = data.rindex(b"\xff\xda")
    empty = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    with pytest.raises(Corrupt, match=r"this JPEG has 1,\d+ scans"):
        pixels(data[:-2] + empty * 1000 + b"\xff\xd9")
    behind = data + empty * 1000  # as in a video behind the picture
    np.testing.assert_array_equal(pixels(behind), pixels(data))


def test_bmps_that_skip_rows_of_millions():
    head = struct.pack("<IiiHHIIiiII", 40, 90_000_000, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    with pytest.raises(TooManyPixels, match="90,000,000 pixels wide"):
        pixels(b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + head + bytes(1024) + b"\0\2\xff\xff")


def test_tiles_larger_than_the_picture():
    tile = {322: 40_000, 323: 40_000, 324: 8, 325: 100, 258: 8, 259: 8}
    with pytest.raises(TooManyPixels, match="TIFF's tile has 40,000 x 40,000"):
        pixels(tiff(tile, bytes(100), 64, 64))


# Laws


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
@example(b"\xff\xd8\xff")
@example(b"BM")
@example(b"GIF89a")
@example(b"\0\0\0\x14ftypavif")
def test_any_bytes_decode_or_raise(data):
    check(data)


@pytest.mark.parametrize("magic", [magic for several in decode._MAGIC.values() for magic in several])
@given(rest=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_after_a_magic_decode_or_raise(magic, rest):
    check(magic + rest)


FILES = {name: sample(name) for name in (*LOSSLESS, *LOSSY)}


@pytest.mark.parametrize("name", FILES)
@given(
    edits=st.lists(
        st.tuples(
            st.sampled_from(["flip", "insert", "delete", "cut"]), st.floats(0, 1), st.binary(min_size=1, max_size=8)
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_decode_or_raise(name, edits):
    data = bytearray(FILES[name])
    for edit, where, value in edits:
        at = int(where**3 * len(data))  # mostly in the header, where it hurts
        if edit == "flip":
            data[at : at + 1] = bytes([(data[at] if at < len(data) else 0) ^ value[0]])
        elif edit == "insert":
            data[at:at] = value
        elif edit == "delete":
            del data[at : at + len(value)]
        else:
            del data[len(data) - at :]
    check(bytes(data))


def check(data: bytes) -> None:
    try:
        decoded = decode.decode_image(data, min_side=32, max_pixels=1_000_000)
    except DecodeError as error:
        assert type(error) in (EmptyFile, NotAnImage, Truncated, Corrupt, TooManyPixels)  # noqa: PT017
        assert str(error)  # noqa: PT017
    else:
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.shape[2] == 3
        assert decoded.pixels.size <= decoded.width * decoded.height * 3 <= 3_000_000
