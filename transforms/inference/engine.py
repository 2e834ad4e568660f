"""The interface of engines, and the search for the image that makes a batch fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.errors import EngineError, InferenceError, NonFinite, OutOfMemory, Refused
from transforms.inference.spec import ModelSpec

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BATCH = 8  # on CPUs, larger batches are not faster and need more memory


class Engine(Protocol):
    """A loaded model. It is thread-safe and limits the number of concurrent calls itself."""

    batch: int
    """The best number of images per call."""

    parallel: int
    """The number of concurrent calls of that size that keeps the machine busy."""

    def infer(self, pixels: Pixels) -> Floats:
        """Return float32[N, width] for uint8[N, size, size, 3] RGB with any N >= 1. Raises EngineError."""


def infer_each(engine: Engine, images: Sequence[Pixels], spec: ModelSpec) -> list[Floats | InferenceError]:
    """Run the engine on a batch. If the batch fails, split it until the image that fails is found.

    Before an image is recorded as the cause, the engine must process a grey image. If it cannot, the engine is broken.
    Then the run fails, and no image gets a failure row.

    Args:
        engine: The engine.
        images: Images, uint8[size, size, 3] each.
        spec: The specification of the model.

    Returns:
        For each image, in order, its output float32[width] or an error.

    Raises:
        EngineError: The engine is broken.
    """
    try:
        outputs = engine.infer(np.stack(images) if len(images) > 1 else images[0][np.newaxis])
    except EngineError as error:
        if len(images) > 1:
            middle = len(images) // 2
            return [
                *infer_each(engine, images[:middle], spec),
                *infer_each(engine, images[middle:], spec),
            ]
        _require_sound(engine, spec)
        memory = isinstance(error, OutOfMemory)
        return [Refused(f"{spec.name} refuses this image: {error}", stage=spec.task, retryable=memory)]
    finite = [bool(np.isfinite(row).all()) for row in outputs]
    if not all(finite):
        _require_sound(engine, spec)
    return [
        row if fine else NonFinite(f"{spec.name} gives NaN or infinity for this image", stage=spec.task)
        for row, fine in zip(outputs, finite, strict=True)
    ]


def _require_sound(engine: Engine, spec: ModelSpec) -> None:
    """Raise EngineError if the engine cannot process a grey image."""
    grey = np.full((1, spec.size, spec.size, 3), 128, np.uint8)
    if not np.isfinite(engine.infer(grey)).all():
        raise EngineError(
            f"{spec.name} gives NaN or infinity even for a grey image; the model or the machine is broken"
        )
