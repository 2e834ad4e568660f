"""SavedModel -> uint8[N, size, size, 3] -> float32[N, width], with TensorFlow. The reference engine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import EngineError, ModelError, OutOfMemory
from transforms.inference.engine import BATCH, Floats, Pixels
from transforms.inference.spec import ModelSpec
from transforms.inference.tensorflow_import import tensorflow

tf = tensorflow()


class TensorFlowEngine:
    """One traced function from pixels to outputs, with scaling and channel order inside.

    Every call runs ``batch`` pictures, the last one padded, so that the function is traced once and memory is the same
    from the first call to the last. One call runs at a time: TensorFlow uses all cores for it anyway, and two would
    only double the memory. When memory runs out the batch is halved, and stays so.
    """

    def __init__(self, folder: Path, spec: ModelSpec, *, batch: int = BATCH) -> None:
        self.batch = batch
        self._spec = spec
        self._running = threading.Lock()
        try:
            # Keeps the model's variables alive: the signature refers to them weakly.
            self._model = tf.saved_model.load(str(folder))
        except Exception as error:  # the loader raises what it likes: IndexError for variables that were cut off
            raise ModelError(f"{folder} is no SavedModel that TensorFlow can load: {_line(error)}") from error
        self._function = _traced(_forward(self._model, spec, str(folder)), spec)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        with self._running:
            done: list[Floats] = []
            start = 0
            while start < len(pixels):
                part = pixels[start : start + self.batch]
                try:
                    done.append(self._run(part))
                    start += len(part)
                except OutOfMemory:
                    if self.batch == 1:
                        raise
                    self.batch = max(1, self.batch // 2)
            return done[0] if len(done) == 1 else np.concatenate(done)

    def _run(self, part: Pixels) -> Floats:
        short = self.batch - len(part)
        padded = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0))) if short else part
        try:
            outputs = self._function(tf.constant(padded)).numpy()
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise OutOfMemory(f"no memory for a batch of {len(padded)}: {_line(error)}") from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise EngineError(_line(error)) from error
        if outputs.ndim != 2 or len(outputs) != len(padded):
            raise EngineError(f"{self._spec.name} gives shape {list(outputs.shape)} for {len(padded)} pictures")
        return outputs[: len(part)].astype(np.float32, copy=False)


def _traced(forward: Callable[[Any], Any], spec: ModelSpec) -> Callable[[Any], Any]:
    """The model with what goes before it -> a function of uint8 pixels."""
    low, high = spec.value_range

    @tf.function(input_signature=[tf.TensorSpec([None, spec.size, spec.size, 3], tf.uint8)], autograph=False)
    def function(pixels: Any) -> Any:
        if spec.channel_order == "bgr":
            pixels = tf.reverse(pixels, axis=[-1])
        values = tf.cast(pixels, tf.float32) * ((high - low) / 255) + low
        return tf.cast(forward(values), tf.float32)

    return function


def _forward(model: Any, spec: ModelSpec, folder: str) -> Callable[[Any], Any]:
    """The one way from images to outputs that a loaded SavedModel offers.

    Names of inputs and outputs are not promised by the publishers, so they are read: the signature
    ``serving_default`` with one input, else the model as a callable. Of several outputs, the one of the spec's width.
    """
    signature = getattr(model, "signatures", {}).get("serving_default")
    if signature is None:
        if not callable(model):
            raise ModelError(f"{folder} has neither a signature 'serving_default' nor a call; export it with one")
        return lambda values: _one(model(values), spec, folder)
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelError(f"{folder}: 'serving_default' takes {sorted(inputs)}; it must take one batch of images")
    (key,) = inputs
    return lambda values: _one(signature(**{key: values}), spec, folder)


def _one(outputs: Any, spec: ModelSpec, folder: str) -> Any:
    if isinstance(outputs, list | tuple):
        outputs = {f"[{index}]": value for index, value in enumerate(outputs)}
    if not isinstance(outputs, dict):
        return outputs
    fitting = [value for value in outputs.values() if value.shape.rank in (2, None)]
    if len(fitting) > 1:
        fitting = [value for value in fitting if value.shape[-1] == spec.width]
    if len(fitting) != 1:
        shapes = ", ".join(f"{key} {value.shape}" for key, value in sorted(outputs.items()))
        raise ModelError(f"{folder}: outputs are {shapes}; exactly one must be [N, {spec.width or 'width'}]")
    return fitting[0]


def _line(error: Exception) -> str:
    """What was wrong, in one line. TensorFlow says it after the tracebacks of a graph and before its first [[node]]."""
    text = str(error).strip()
    if text.startswith("Graph execution error"):
        text = text.partition("\n\t [[")[0].rstrip().rpartition("\n")[2]
    return re.sub(r"{{.*?}} ", "", text.partition("\n")[0])[:300]
