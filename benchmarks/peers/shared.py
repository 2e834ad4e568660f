"""What all peers share: the job, the pictures as their models want them, the models as TensorFlow loads them."""

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

BATCH = 8  # on CPUs larger batches are no faster and hold more memory
TOP = 5

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """A SavedModel and the side of its input. labels: of a classifier."""

    folder: str
    size: int
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Path) -> Model:
        """From a bundle's folder."""
        size = json.loads((bundle / "model.json").read_text(encoding="utf-8"))["spec"]["size"]
        labels = bundle / "labels.txt"
        lines = labels.read_text(encoding="utf-8").splitlines() if labels.exists() else ()
        return cls(str(bundle / "saved_model"), size, tuple(lines))


@dataclass(frozen=True)
class Job:
    """JPEG files through both models into Parquet below ``output``."""

    pictures: tuple[str, ...]
    classifier: Model
    embedder: Model
    output: str


def job(description: str | None) -> Job:
    """From the command line."""
    parser = argparse.ArgumentParser(description=description)
    for option in ("pictures", "classifier", "embedder", "output"):
        parser.add_argument(f"--{option}", type=Path, required=True, metavar="FOLDER")
    asked = parser.parse_args()
    pictures = tuple(str(path.absolute()) for path in sorted(asked.pictures.glob("*.jpg")))
    return Job(pictures, Model.of(asked.classifier), Model.of(asked.embedder), str(asked.output.absolute()))


def load_model(folder: str) -> Callable[[Pixels], Floats]:
    """uint8[N, size, size, 3] -> float32[N, width], by the signature that modules of TF-Hub are served with."""
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    serve = model.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]

    def infer(pixels: Pixels, _model: Any = model) -> Floats:  # held, as the signature refers to it weakly
        (outputs,) = serve(**{name: tf.cast(pixels, tf.float32) / 255.0}).values()
        return np.asarray(outputs.numpy())

    return infer


def fit(image: Image.Image, size: int) -> Pixels:
    """The publisher's preprocessing: the middle square with 32 pixels of padding left out, bicubic to size x size."""
    side = size / (size + 32) * min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    box = (left, upper, left + side, upper + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))


def prediction(scores: Floats, labels: tuple[str, ...]) -> dict[str, Any]:
    """float32[classes] -> the columns of a prediction."""
    best = [int(index) for index in np.argsort(-scores)[:TOP]]
    return {
        "class_id": best[0],
        "label": labels[best[0]],
        "score": float(scores[best[0]]),
        "top_k": [labels[index] for index in best],
        "top_k_scores": [float(scores[index]) for index in best],
    }
