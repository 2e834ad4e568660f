"""Code that all peers share: the job, preprocessing, and models loaded by TensorFlow."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

BATCH = 8  # Larger batches are no faster on CPUs, and need more memory.
TOP = 5

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """A SavedModel, the side of its input in pixels, and the labels of a classifier."""

    folder: str
    size: int
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Path) -> Model:
        """Read the folder of a bundle."""
        size = json.loads((bundle / "model.json").read_text(encoding="utf-8"))["spec"]["size"]
        labels = bundle / "labels.txt"
        lines = labels.read_text(encoding="utf-8").splitlines() if labels.exists() else ()
        return cls(str(bundle / "saved_model"), size, tuple(lines))


@dataclass(frozen=True)
class Job:
    """The JPEG files, both models, and the folder for Parquet files."""

    pictures: tuple[str, ...]
    classifier: Model
    embedder: Model
    output: str


def job(description: str | None) -> Job:
    """Read the job from the command line."""
    parser = argparse.ArgumentParser(description=description)
    for option in ("pictures", "classifier", "embedder", "output"):
        parser.add_argument(f"--{option}", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    pictures = tuple(str(path.absolute()) for path in sorted(arguments.pictures.glob("*.jpg")))
    return Job(pictures, Model.of(arguments.classifier), Model.of(arguments.embedder), str(arguments.output.absolute()))


def load_model(folder: str) -> Callable[[Pixels], Floats]:
    """Return a function from uint8[N, size, size, 3] to float32[N, width], by the serving signature of the model."""
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    serve = model.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]

    def infer(
        pixels: Pixels, _model: Any = model
    ) -> Floats:  # keeps the model alive: the signature holds a weak reference
        (outputs,) = serve(**{name: tf.cast(pixels, tf.float32) / 255.0}).values()
        return np.asarray(outputs.numpy())

    return infer


def fit(image: Image.Image, size: int) -> Pixels:
    """Apply the publisher's preprocessing: crop the middle square without 32 pixels of padding, resize with bicubic."""
    side = size / (size + 32) * min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    box = (left, upper, left + side, upper + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))


def prediction(scores: Floats, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the columns of a prediction from the scores of all classes, float32[classes]."""
    best = [int(index) for index in np.argsort(-scores)[:TOP]]
    return {
        "class_id": best[0],
        "label": labels[best[0]],
        "score": float(scores[best[0]]),
        "top_k": [labels[index] for index in best],
        "top_k_scores": [float(scores[index]) for index in best],
    }
