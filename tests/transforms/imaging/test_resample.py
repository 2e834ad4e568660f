"""The filter gives Pillow's pixels, for pictures of every kind."""

from __future__ import annotations

import functools
import math
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import LOSSLESS, LOSSY, patches, sample, save
from PIL import Image

from beamsight.models import registry
from benchmarks import bare
from transforms.imaging import decode, drawn, fit, resample, taps
from transforms.inference.spec import Crop, ModelSpec

CROPS: list[Crop] = ["square", "central", "squash", "pad"]
# Compilers for ARM fuse some multiplications and additions of Pillow's weights, which may change their last bit.
MOST = 0 if platform.machine() == "x86_64" else 1  # levels
B7, B6 = registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed")


def with_pillow(image: Image.Image, box: resample.Box, size: tuple[int, int]) -> drawn.Pixels:
    left, upper, right, lower = box
    x, y = math.floor(left), math.floor(upper)
    cropped = image.crop((x, y, math.ceil(right), math.ceil(lower)))
    box = left - x, upper - y, right - x, lower - y
    return np.asarray(cropped.resize(size, Image.Resampling.BICUBIC, box))


def seen(image: Image.Image, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> list[drawn.Pixels]:
    """What a model sees, as it is and with Pillow's filter."""
    ours = fit.fit_image(image, spec)
    with monkeypatch.context() as patch:
        patch.setattr(resample, "resize", with_pillow)
        return [ours, fit.fit_image(image, spec)]


def difference(a: drawn.Pixels, b: drawn.Pixels) -> int:
    return int(np.abs(a.astype(int) - b).max())


# Pictures of every kind, each a function of nothing, so that pytest draws none of them to name its tests.

SIZES = [(640, 480), (801, 603), (333, 1999), (1, 1), (2, 3), (1, 700), (900, 1), (47, 5000), (5000, 31), (632, 632)]
MODES = ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"]


def in_mode(mode: str, seed: int) -> bytes:
    image = Image.fromarray(drawn.draw(seed, 257 + seed, 190))
    if mode == "I;16":
        return save(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "png")
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(drawn.draw(seed + 1, *image.size)[..., 0]))
    return save(image.convert(mode), "tiff" if mode == "CMYK" else "png")


def turned(orientation: int, seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(Image.fromarray(drawn.draw(seed, 301, 200)), "jpeg", exif=exif)


def from_seed(seed: int) -> bytes:
    width, height = np.random.RandomState(seed).randint(20, 1100, 2)
    kind, options = [("jpeg", {"quality": 90}), ("png", {"compress_level": 1}), ("webp", {"quality": 80})][seed % 3]
    return drawn.encode(drawn.draw(seed, int(width), int(height)), kind, **options)


PICTURES: dict[str, Callable[[], bytes]] = {
    **{name: functools.partial(sample, name) for name in (*LOSSLESS, *LOSSY)},
    **{f"{mode} {seed}": functools.partial(in_mode, mode, seed) for mode in MODES for seed in range(4)},
    **{f"turned {turn} {seed}": functools.partial(turned, turn, seed) for turn in range(1, 9) for seed in range(2)},
    **{f"drawn {seed}": functools.partial(from_seed, seed) for seed in range(130)},
    **{
        f"{width}x{height} {seed}": functools.partial(
            lambda *size: drawn.encode(drawn.draw(*size), "png", compress_level=1), seed, width, height
        )
        for width, height in SIZES
        for seed in range(2)
    },
    "black and white": lambda: save(patches((0, 0, 0), (255, 255, 255), (0, 0, 0)), "png"),
    "stripes": lambda: drawn.encode(np.tile(np.array([[[0], [255]]], np.uint8), (400, 200, 3)), "png"),
    "chequers": lambda: drawn.encode(
        np.tile(np.array([[0, 255], [255, 0]], np.uint8)[..., None], (250, 250, 3)), "png"
    ),
    "noise": lambda: drawn.encode(np.random.RandomState(0).randint(0, 256, (700, 900, 3)).astype(np.uint8), "png"),
    "extremes": lambda: drawn.encode(
        255 * np.random.RandomState(1).randint(0, 2, (700, 900, 3)).astype(np.uint8), "png"
    ),
}


def test_there_are_many_pictures() -> None:
    assert len(PICTURES) >= 200


@pytest.mark.parametrize("group", range(8))
def test_pixels_are_those_of_pillow(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (name, draw) in list(enumerate(PICTURES.items()))[group::8]:
        image = decode.decode_image(draw(), min_side=fit.DRAFT_SIDE).image
        spec = ModelSpec("any", "embed", (224, 97, 320)[number % 3], 8, "features", crop=CROPS[number % 4])
        for one in ((B7, B6)[number % 2], spec):
            assert difference(*seen(image, one, monkeypatch)) <= MOST, f"{name}, {one.crop} {one.size}"


def test_photos_are_those_of_pillow(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((shared_dir / "photos").glob("*.jpg"))
    assert paths
    for path in paths:
        image = decode.decode_image(path.read_bytes()).image
        for factor in (1, 0.71, 2.3):
            scaled = image.resize((round(image.width * factor), round(image.height * factor)))
            for one in (B7, B6):
                assert difference(*seen(scaled, one, monkeypatch)) <= MOST, f"{path.name} x {factor}"


def test_vectors_of_a_trained_model_are_those_of_pillows_pixels(
    shared_dir: Path, trained: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = bare.load(Path(trained["feature_vector"]), "openvino", "f32")
    spec = ModelSpec("mobilenet", "embed", 224, 256, "features")
    files = [path.read_bytes() for path in sorted((shared_dir / "photos").glob("*.jpg"))]
    images = [decode.decode_image(data).image for data in (*files, *(draw() for draw in PICTURES.values()))]
    pairs = [seen(image, spec, monkeypatch) for image in images]
    a, b = (infer(np.stack([pair[side] for pair in pairs])).astype(np.float64) for side in (0, 1))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() >= 0.9999


# Laws


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 0.4), st.floats(0, 0.4))
@settings(max_examples=300)
def test_sums_fit_in_32_bits(size: int, count: int, low: float, high: float) -> None:
    found = taps.Taps(count * low, count * (1 - high), size, count)
    high_parts, low_parts = found.weights.astype(np.int64).transpose(2, 0, 1, 3).reshape(2, size, -1)
    weights = (high_parts << taps.LOW_BITS) + low_parts
    assert np.abs(weights.sum(axis=1) - (1 << taps.BITS)).max() <= found.taps  # Each weight is rounded.
    assert 255 * np.abs(weights).sum(axis=1).max() + (1 << taps.BITS) < 1 << 31
    used = np.where(weights != 0, found.starts[:, None] + np.arange(found.taps), 0)
    assert used.min() >= 0
    assert used.max() < count


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (1, 128, 254)])
@pytest.mark.parametrize("size", [(1, 1), (7, 600), (2000, 3)])
def test_a_plain_image_keeps_its_colour(colour: tuple[int, int, int], size: tuple[int, int]) -> None:
    image = Image.new("RGB", (1234, 77), colour)
    assert (resample.resize(image, (0.3, 0.1, 1233.3, 76.9), size) == colour).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 80), st.integers(1, 80), st.integers(0, 99))
@settings(max_examples=150)
def test_any_size_to_any_size(width: int, height: int, across: int, down: int, seed: int) -> None:
    image = Image.fromarray(drawn.draw(seed, width, height))
    box = (0.0, 0.0, float(width), float(height))
    ours = resample.resize(image, box, (across, down))
    assert ours.shape == (down, across, 3)
    assert difference(ours, with_pillow(image, box, (across, down))) <= MOST


# Memory


def test_an_image_in_several_blocks_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(drawn.draw(1, 2600, 1900))  # 20 MB
    assert resample._share(image) is None
    box = 100.5, 20.25, 2100.75, 1800.5
    smaller = image.crop((100, 20, 2101, 1801))
    assert resample._share(smaller) is not None
    ours = resample.resize(image, box, (600, 500))
    np.testing.assert_array_equal(ours, resample.resize(smaller, (0.5, 0.25, 2000.75, 1780.5), (600, 500)))
    assert difference(ours, with_pillow(image, box, (600, 500))) <= MOST


@pytest.mark.parametrize(("width", "height"), [(65_500, 400), (400, 65_500), (6000, 4000)])
def test_the_memory_of_a_thread_stays_small(width: int, height: int) -> None:
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    found: list[int] = []

    def work() -> None:
        for size in (600, 64):
            ours = resample.resize(image, (0, 0, width, height), (size, size))
            assert difference(ours, with_pillow(image, (0, 0, width, height), (size, size))) <= MOST
        passes = resample._threads.passes
        assert passes is not None
        found.append(passes._memory.data_len(passes._store))

    thread = threading.Thread(target=work)  # A new thread has a memory of its own.
    thread.start()
    thread.join()
    assert found[0] < 8_000_000


def test_threads_do_not_share_a_memory() -> None:
    images = [Image.fromarray(drawn.draw(seed, 400 + 9 * seed, 300)) for seed in range(12)]
    want = [fit.fit_image(image, B6) for image in images]
    with ThreadPoolExecutor(12) as pool:
        for image, got in zip(want * 4, pool.map(lambda image: fit.fit_image(image, B6), images * 4), strict=True):
            np.testing.assert_array_equal(got, image)
