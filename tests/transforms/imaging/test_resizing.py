"""The two resizers: how far their pixels and vectors are apart."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from transforms.errors import UsageError
from transforms.imaging import drawn, fit, resizing
from transforms.inference import bundle, engines, loading
from transforms.inference.recipe import Recipe
from transforms.inference.spec import Crop, ModelSpec

pytestmark = pytest.mark.skipif(resizing.best() != "simd", reason="cykooz-resizer has no wheel for this machine")

SIZES = (7, 224, 300, 528, 600)
SHAPES = ((1, 1), (2, 2000), (2000, 2), (3, 301), (64, 48), (333, 500), (800, 600), (1024, 768), (1632, 1224))


def picture(seed: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a drawing, or noise, or black and white pixels, which need the most of the filter."""
    random = np.random.default_rng(seed)
    match seed % 3:
        case 0:
            return drawn.draw(seed, width, height)
        case 1:
            return random.integers(0, 256, (height, width, 3), np.uint8)
        case _:
            return (255 * random.integers(0, 2, (height, width, 3))).astype(np.uint8)


def pictures() -> Iterator[tuple[Image.Image, ModelSpec]]:
    """Yield 225 pictures, each with the input of a model."""
    crops = get_args(Crop)
    for seed in range(len(SHAPES) * len(SIZES) * 5):
        shape, size = SHAPES[seed % len(SHAPES)], SIZES[seed // len(SHAPES) % len(SIZES)]
        spec = ModelSpec("any", "embed", size, 8, "features", crop=crops[seed % len(crops)])
        yield Image.fromarray(picture(seed, *shape)), spec


def test_values_differ_by_one_and_rarely_by_two() -> None:
    levels = np.zeros(256, int)
    for image, spec in pictures():
        pillow, simd = (fit.fit_image(image, replace(spec, resizer=each)).astype(int) for each in ("pillow", "simd"))
        assert simd.shape == pillow.shape
        levels += np.bincount(np.abs(pillow - simd).ravel(), minlength=256)
    shares = levels / levels.sum()
    assert not levels[3:].any()
    assert shares[1] < 0.01
    assert shares[2] < 0.0001


def test_vectors_and_classes_are_the_same(trained: dict[str, str], shared_dir: Path) -> None:
    images = [Image.open(path).convert("RGB") for path in sorted((shared_dir / "photos").glob("*.jpg"))]
    images += [Image.fromarray(picture(seed, 640, 480)) for seed in range(12)]
    answers = {}
    for form in ("feature_vector", "classification"):
        spec = bundle.read(trained[form]).spec
        engine = engines.load("openvino", Path(trained[form]), spec)
        answers[form] = [
            engine.infer(np.stack([fit.fit_image(image, replace(spec, resizer=each)) for image in images]))
            for each in ("pillow", "simd")
        ]
    pillow, simd = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in answers["feature_vector"])
    assert (pillow * simd).sum(axis=1).min() > 0.9999
    pillow, simd = answers["classification"]
    photos = slice(3)  # an image of noise has no clear class
    np.testing.assert_array_equal(pillow[photos].argmax(axis=1), simd[photos].argmax(axis=1))


def test_a_crop_of_the_models_own_size_is_not_filtered() -> None:
    drawing = drawn.draw(1, 128, 128)
    spec = ModelSpec("any", "embed", 96, 8, "features", resizer="simd")
    np.testing.assert_array_equal(fit.fit_image(Image.fromarray(drawing), spec), drawing[16:112, 16:112])


def test_threads_do_not_disturb_each_other() -> None:
    images = [Image.fromarray(drawn.draw(seed, 300 + seed, 200)) for seed in range(24)]
    spec = ModelSpec("any", "embed", 224, 8, "features", resizer="simd")
    alone = [fit.fit_image(image, spec) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for want, seen in zip(alone * 4, pool.map(lambda image: fit.fit_image(image, spec), images * 4), strict=True):
            np.testing.assert_array_equal(seen, want)


def test_a_machine_without_simd_uses_pillow_and_refuses_other_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resizing.best() == "pillow"
    spec = ModelSpec("any", "embed", 224, 8, "features")
    resizing.require(spec.resizer)
    with pytest.raises(UsageError, match=r"cykooz_resizer, which is not installed .* --resizer pillow"):
        loading.load([Recipe(replace(spec, resizer="simd"), "/none", "ab" * 32, "a test")])
