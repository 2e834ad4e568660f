"""What runs a model, and how a batch that it refuses is taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.errors import EngineError, InferenceError, NonFinite, OutOfMemory, Refused
from transforms.inference.spec import ModelSpec

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BATCH = 8  # on CPUs larger batches are no faster and hold more memory


class Engine(Protocol):
    """A loaded model. Safe to call from many threads; it decides itself how many run at once."""

    batch: int
    """How many pictures a call takes best."""

    parallel: int
    """How many calls of that size it takes to keep the machine busy."""

    def infer(self, pixels: Pixels) -> Floats:
        """uint8[N, size, size, 3] RGB, any N >= 1 -> float32[N, width]. Raises EngineError."""


def infer_each(engine: Engine, pictures: Sequence[Pixels], spec: ModelSpec) -> list[Floats | InferenceError]:
    """Pictures uint8[size, size, 3] -> for each, in order, its outputs float32[width] or why there are none.

    A batch that the engine refuses is halved until the one bad picture is found. Before a picture is blamed, the
    engine has to do a grey one: if it cannot, it is broken and not the picture, and the EngineError is raised so
    that the run fails loudly and nothing is written down as the images' fault.
    """
    try:
        outputs = engine.infer(np.stack(pictures) if len(pictures) > 1 else pictures[0][np.newaxis])
    except EngineError as error:
        if len(pictures) > 1:
            middle = len(pictures) // 2
            return [
                *infer_each(engine, pictures[:middle], spec),
                *infer_each(engine, pictures[middle:], spec),
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
    """Raises EngineError if the engine cannot do a plain grey picture."""
    grey = np.full((1, spec.size, spec.size, 3), 128, np.uint8)
    if not np.isfinite(engine.infer(grey)).all():
        raise EngineError(f"{spec.name} gives NaN or infinity even for a grey picture: model or machine is broken")
