"""The photos, changed as photos of one thing differ: other parts of them, mirrored, darker, brighter, flatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps


def changed(photos: Path, seeds: range, size: int) -> npt.NDArray[np.uint8]:
    """uint8[len(seeds), size, size, 3] RGB; each seed a part of 0.6 to 1 of a photo's shorter side."""
    originals = [Image.open(path).convert("RGB") for path in sorted(photos.glob("*.jpg"))]
    return np.stack([_change(originals[seed % len(originals)], seed, size) for seed in seeds])


def _change(photo: Image.Image, seed: int, size: int) -> npt.NDArray[np.uint8]:
    random = np.random.RandomState(seed)
    side = int(min(photo.size) * random.uniform(0.6, 1))
    left, top = (int((whole - side) * random.uniform(0.25, 0.75)) for whole in photo.size)
    part = photo.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    if random.randint(2):
        part = ImageOps.mirror(part)
    part = ImageEnhance.Brightness(part).enhance(random.uniform(0.8, 1.2))
    part = ImageEnhance.Contrast(part).enhance(random.uniform(0.8, 1.2))
    return np.asarray(part)
