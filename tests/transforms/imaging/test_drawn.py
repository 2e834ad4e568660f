from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transforms.imaging import drawn


@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.integers(1, 120))
@settings(max_examples=100)
def test_any_seed_and_size(seed: int, width: int, height: int) -> None:
    picture = drawn.draw(seed, width, height)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, drawn.draw(seed, width, height))


@pytest.mark.parametrize(
    ("seed", "digest"), [(0, "a1aea6802d6df339"), (7, "d0f78b24821f519d"), (2**32 - 1, "abb1133adc37ba30")]
)
def test_the_same_on_every_machine(seed: int, digest: str) -> None:
    assert hashlib.sha256(drawn.draw(seed, 97, 61).tobytes()).hexdigest()[:16] == digest


def test_seeds_differ() -> None:
    assert len({drawn.draw(seed, 64, 64).tobytes() for seed in range(50)}) == 50


def test_pictures_are_varied() -> None:
    pictures = np.stack([drawn.draw(seed, 128, 128) for seed in range(40)]).astype(float)
    means = pictures.mean(axis=(1, 2))
    assert means.std(axis=0).min() > 15  # in colour
    fine = np.abs(np.diff(pictures, axis=2)).mean(axis=(1, 2, 3))
    assert fine.min() < 10  # in smoothness
    assert fine.max() > 30


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
@pytest.mark.parametrize("shape", [(9, 13, 3), (9, 13)])
def test_encode_keeps_the_pixels(kind: str, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    with Image.open(io.BytesIO(drawn.encode(pixels, kind))) as image:
        assert image.format == kind.upper()
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_encode_is_jpeg_unless_told_otherwise() -> None:
    pixels = drawn.draw(1, 64, 64)
    with Image.open(io.BytesIO(drawn.encode(pixels))) as image:
        assert image.format == "JPEG"
    assert len(drawn.encode(pixels, quality=10)) < len(drawn.encode(pixels, quality=95))
