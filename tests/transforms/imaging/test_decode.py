from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pictures import (
    BLUE,
    GREEN,
    LOSSLESS,
    LOSSY,
    PICTURE,
    RED,
    SMOOTH,
    assert_near,
    middles,
    patches,
    pixels,
    sample,
    save,
)
from PIL import Image

from transforms.errors import Corrupt, DecodeError, EmptyFile, NotAnImage, TooLittleMemory, TooManyPixels, Truncated
from transforms.imaging import colour, decode, drawn, formats

# Formats


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_exactly(name: str) -> None:
    want = PICTURE if "gif" not in name else np.where(PICTURE > 127, 255, 0)
    decoded = decode.decode_image(sample(name))
    np.testing.assert_array_equal(decoded.pixels, want)
    assert (decoded.width, decoded.height) == (48, 40)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_come_back_nearly(name: str) -> None:
    got = pixels(sample(name))
    assert got.shape == SMOOTH.shape
    assert np.abs(got.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif", "tiff"])
def test_the_first_of_several_frames(kind: str) -> None:
    first, second = patches(RED, GREEN), patches(BLUE, BLUE)
    data = save(first, kind, save_all=True, append_images=[second])
    assert_near(middles(data), [RED, GREEN], within=6)


def test_the_primary_picture_of_a_heic() -> None:
    data = save(patches(BLUE), "heif", save_all=True, append_images=[patches(RED)], primary_index=1)
    assert_near(middles(data), [RED], within=8)


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
def test_pictures_are_upright(name: str, orientation: int) -> None:
    kind, options = (LOSSLESS | LOSSY)[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lies = np.ascontiguousarray(STORED[orientation](SMOOTH))
    decoded = decode.decode_image(drawn.encode(lies, kind, exif=exif.tobytes(), **options))
    assert (decoded.width, decoded.height) == (96, 72)
    assert decoded.pixels.shape == (72, 96, 3)
    assert np.abs(decoded.pixels.astype(int) - SMOOTH).mean() < (3 if name in LOSSY else 1e-9)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_are_none_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels(drawn.encode(PICTURE, "png", exif=exif)), PICTURE)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    np.testing.assert_array_equal(pixels(drawn.encode(SMOOTH, exif=exif)), pixels(drawn.encode(SMOOTH)))


# Scaled decoding


@pytest.mark.parametrize(
    ("min_side", "shape"), [(None, (480, 640)), (481, (480, 640)), (240, (240, 320)), (60, (60, 80))]
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_large_jpegs_are_decoded_scaled(min_side: int | None, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, 640, 480), **options), min_side=min_side)
    assert decoded.pixels.shape == (*shape, 3)
    assert (decoded.width, decoded.height) == (640, 480)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=60)
def test_the_shorter_side_is_kept(width: int, height: int, min_side: int) -> None:
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, width, height)), min_side=min_side)
    assert min(decoded.pixels.shape[:2]) >= min(width, height, min_side)
    assert (decoded.width, decoded.height) == (width, height)


def test_scaled_jpegs_are_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode.decode_image(drawn.encode(drawn.draw(1, 640, 480), exif=exif), min_side=120)
    assert decoded.pixels.shape == (160, 120, 3)
    assert (decoded.width, decoded.height) == (480, 640)


def test_too_little_memory_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(colour, "to_srgb", fail)
    with pytest.raises(TooLittleMemory, match="too little free memory for this PNG") as caught:
        pixels(sample("png"))
    assert caught.value.retryable


# What cannot be decoded


def test_no_bytes() -> None:
    with pytest.raises(EmptyFile, match="the file is empty"):
        pixels(b"")


def test_broken_data_is_corrupt() -> None:
    data = bytearray(sample("png"))
    at = data.index(b"IDAT") + 20
    data[at : at + 8] = b"\xff" * 8
    with pytest.raises(Corrupt, match="this PNG cannot be decoded: broken data stream"):
        pixels(bytes(data))


def test_unsupported_kinds_say_why() -> None:
    data = bytearray(sample("jpeg"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(Corrupt, match="this JPEG cannot be decoded: cannot handle 12-bit layers"):
        pixels(bytes(data))


# Laws


@given(st.binary(max_size=400))
@settings(max_examples=300)
@example(b"\xff\xd8\xff")
@example(b"BM")
@example(b"GIF89a")
@example(b"\0\0\0\x14ftypavif")
def test_any_bytes_decode_or_raise(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("magic", [magic for several in formats.MAGIC.values() for magic in several])
@given(rest=st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_after_a_magic_decode_or_raise(magic: bytes, rest: bytes) -> None:
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
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_decode_or_raise(name: str, edits: list[tuple[str, float, bytes]]) -> None:
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
