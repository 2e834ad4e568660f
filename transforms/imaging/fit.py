"""Crop and resize an image to the square input of a model, as in the training of the model.

| crop    | part of the image                                                       | used by         |
|---------|-------------------------------------------------------------------------|-----------------|
| square  | central square with a side of size / (size + 32) of the shorter side    | EfficientNet    |
| central | central 0.875 of the width and of the height; changes the aspect ratio  | Open Model Zoo  |
| squash  | all; changes the aspect ratio                                           |                 |
| pad     | all, centred on black; keeps the aspect ratio                           |                 |
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms.imaging import resizing
from transforms.imaging.resizing import Box
from transforms.inference import spec as specs

# A JPEG decoded at reduced size keeps this many pixels of the shorter side for all models that need no more (B7 needs
# 632, its auto_aug variant 686). So these models share one decode, and no model's result depends on the other models.
DRAFT_SIDE = 704

CROP_PADDING = 32  # tensorflow/tpu, models/official/efficientnet/preprocessing.py
CENTRAL_FRACTION = 0.875  # openvinotoolkit/open_model_zoo, models/public/efficientnet-b7_auto_aug/accuracy-check.yml


def fit_image(image: Image.Image, spec: specs.ModelSpec) -> npt.NDArray[np.uint8]:
    """Crop and resize an RGB image of any size with a bicubic filter, see ``resizing``.

    Returns:
        uint8[size, size, 3], contiguous, read-only. The channels stay in RGB order; the engine reorders them.
    """
    width, height = image.size
    if spec.crop != "pad":
        left, upper, right, lower = _box(width, height, spec)
        # The filter reads pixels outside its box, but models were trained on images that were cropped first.
        x, y = math.floor(left), math.floor(upper)
        # It is not Image.crop, which compares the size with a global of Pillow.
        cropped = Image.new("RGB", (math.ceil(right) - x, math.ceil(lower) - y), None)
        cropped.paste(image, (-x, -y))
        box = left - x, upper - y, right - x, lower - y
        return np.asarray(resizing.resize(cropped, (spec.size, spec.size), box, spec.resizer))
    scale = spec.size / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    whole = resizing.resize(image, inner, resizer=spec.resizer)
    square = Image.new("RGB", (spec.size, spec.size))
    square.paste(whole, ((spec.size - inner[0]) // 2, (spec.size - inner[1]) // 2))
    return np.asarray(square)


def min_side(spec: specs.ModelSpec) -> int:
    """Return the minimum shorter side, in pixels, of a JPEG decoded at reduced size, so that no crop is enlarged.

    ``squash`` needs ``size`` for both sides. ``pad`` needs it for the longer side only, which the limit on the
    shorter side ensures too.
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
    """Return the left, upper, right and lower edge of the crop, in fractional pixels."""
    if spec.crop == "squash":
        return 0, 0, width, height
    if spec.crop == "central":
        across, down = width * CENTRAL_FRACTION, height * CENTRAL_FRACTION
    else:
        across = down = min(width, height) * spec.size / (spec.size + CROP_PADDING)
    left, upper = (width - across) / 2, (height - down) / 2
    return left, upper, left + across, upper + down
