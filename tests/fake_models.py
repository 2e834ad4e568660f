"""Models whose engine is a fake that is handed in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transforms.errors import EngineError
from transforms.inference.concurrent import Model
from transforms.inference.engine import Floats, Pixels
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec

CLASSIFIER = ModelSpec(name="fake", task="classify", size=16, width=3, output="probabilities")
EMBEDDER = ModelSpec(name="fake", task="embed", size=24, width=4, output="features")
LABELS = (Label("n01", "a"), Label("n02", "b"), Label("n03", "c"))


class FakeEngine:
    """The mean of the picture over 255, then zeros. ``refuses`` looks at the means of a batch, 0..255."""

    def __init__(
        self, width: int, refuses: Callable[[Floats], EngineError | None] = lambda _: None, batch: int = 8
    ) -> None:
        self.batch = batch
        self.parallel = 1
        self.sizes: list[int] = []
        self._width = width
        self._refuses = refuses

    def infer(self, pixels: Pixels) -> Floats:
        self.sizes.append(len(pixels))
        means = pixels.mean(axis=(1, 2, 3), dtype=np.float32)
        error = self._refuses(means)
        if error is not None:
            raise error
        outputs = np.zeros((len(pixels), self._width), np.float32)
        outputs[:, 0] = means / 255
        return outputs


def model(spec: ModelSpec, engine: FakeEngine | None = None) -> Model:
    recipe = Recipe(spec, bundle="", content_hash=spec.task, source="fake")
    return Model(recipe, engine or FakeEngine(spec.width), LABELS if spec.task == "classify" else ())
