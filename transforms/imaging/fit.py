"""A picture -> a model's square input: crop and resize as the model was trained for.

| crop    | what the model sees                                                     | as in           |
|---------|-------------------------------------------------------------------------|-----------------|
| square  | the middle square, its side size / (size + 32) of the shorter side      | EfficientNet    |
| central | the middle, 0.875 of the width and of the height; aspect not kept       | Open Model Zoo  |
| squash  | everything; aspect not kept                                             |                 |
| pad     | everything, aspect kept, in the middle of black                         |                 |
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms.inference import spec as specs

# Pixels of the shorter side that a scaled decode keeps for every model that needs no more (B7 needs 632, its
# auto_aug form 686): so these share one decode, and the numbers of one do not depend on which other runs beside it.
DRAFT_SIDE = 704

CROP_PADDING = 32  # tensorflow/tpu, models/official/efficientnet/preprocessing.py
CENTRAL_FRACTION = 0.875  # openvinotoolkit/open_model_zoo, models/public/efficientnet-b7_auto_aug/accuracy-check.yml

Box = tuple[float, float, float, float]


def fit_image(picture: Image.Image, spec: specs.ModelSpec) -> npt.NDArray[np.uint8]:
    """RGB picture -> uint8[size, size, 3], contiguous, read-only, by Pillow's bicubic filter.

    Any width and height from 1 on. The channels stay red, green, blue: their order is the engine's matter.
    """
    width, height = picture.size
    if spec.crop != "pad":
        left, upper, right, lower = _box(width, height, spec)
        # Pillow's filter looks beyond the box it is given; models were trained on pictures that were cropped first.
        x, y = math.floor(left), math.floor(upper)
        cropped = picture.crop((x, y, math.ceil(right), math.ceil(lower)))
        box = left - x, upper - y, right - x, lower - y
        return np.asarray(cropped.resize((spec.size, spec.size), Image.Resampling.BICUBIC, box))
    scale = spec.size / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    whole = picture.resize(inner, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (spec.size, spec.size))
    square.paste(whole, ((spec.size - inner[0]) // 2, (spec.size - inner[1]) // 2))
    return np.asarray(square)


def min_side(spec: specs.ModelSpec) -> int:
    """The least shorter side, in pixels, that a scaled decode must keep so that the crop is not enlarged for it.

    ``squash`` needs ``size`` of both sides. ``pad`` needs it of the longer side only, but where the shorter side
    has it the longer one has it too.
    """
    match spec.crop:
        case "square":
            needed = spec.size + CROP_PADDING
        case "central":
            needed = math.ceil(spec.size / CENTRAL_FRACTION)
        case _:
            needed = spec.size
    return max(DRAFT_SIDE, needed)


def _box(width: int, height: int, spec: specs.ModelSpec) -> Box:
    """Left, upper, right and lower edge of the crop, in pixels and fractions of them."""
    if spec.crop == "squash":
        return 0, 0, width, height
    if spec.crop == "central":
        across, down = width * CENTRAL_FRACTION, height * CENTRAL_FRACTION
    else:
        across = down = min(width, height) * spec.size / (spec.size + CROP_PADDING)
    left, upper = (width - across) / 2, (height - down) / 2
    return left, upper, left + across, upper + down
