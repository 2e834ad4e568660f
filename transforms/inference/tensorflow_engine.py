"""The engine that runs SavedModels with TensorFlow. It is the reference."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import EngineError, OutOfMemory
from transforms.inference import saved_model
from transforms.inference.engine import BATCH, Floats, Pixels
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec, Precision

tf = tensorflow()

_loading = threading.Lock()  # one at a time, because the configuration belongs to the process


class TensorFlowEngine:
    """One traced function from pixels to outputs, including the scaling and the channel order.

    Each call runs ``batch`` images, and the last one is padded. So the function is traced once, and all calls need the
    same memory. One call runs at a time, because TensorFlow uses all cores for a call and two calls need twice the
    memory. If memory runs out, the batch size is halved permanently.
    """

    def __init__(
        self,
        folder: Path,
        spec: ModelSpec,
        precision: Precision = "f32",
        *,
        batch: int = BATCH,
        threads: int | None = None,
    ) -> None:
        self.batch = batch
        self.parallel = 1
        self._spec = spec
        self._running = threading.Lock()
        with _loading:
            _configure(precision, threads)
            self._function = traced(saved_model.SavedModel(folder, spec), spec)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        with self._running:
            outputs: list[Floats] = []
            start = 0
            while start < len(pixels):
                part = pixels[start : start + self.batch]
                try:
                    outputs.append(self._run(part))
                    start += len(part)
                except OutOfMemory:
                    if self.batch == 1:
                        raise
                    self.batch = max(1, self.batch // 2)
            return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _run(self, part: Pixels) -> Floats:
        short = self.batch - len(part)
        padded = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0))) if short else part
        try:
            outputs = self._function(tf.constant(padded)).numpy()
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise OutOfMemory(f"not enough memory for a batch of {len(padded)}: {saved_model.line(error)}") from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise EngineError(saved_model.line(error)) from error
        if outputs.ndim != 2 or len(outputs) != len(padded):
            raise EngineError(f"{self._spec.name} gives shape {list(outputs.shape)} for a batch of {len(padded)}")
        return outputs[: len(part)].astype(np.float32, copy=False)


def _configure(precision: Precision, threads: int | None) -> None:
    """Configure TensorFlow for this process.

    With bf16, the operations in TensorFlow's lists run in 16 bits: as bf16 through oneDNN on CPUs, and as float16 on
    GPUs, because all GPUs in use compute float16 fast.
    """
    gpus = tf.config.list_physical_devices("GPU")
    half = "auto_mixed_precision" if gpus else "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({half: precision == "bf16"})
    for gpu in gpus:
        with suppress(RuntimeError):  # it cannot change after the first model is loaded
            tf.config.experimental.set_memory_growth(gpu, True)
    if threads is not None:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def traced(forward: Callable[[Any], Any], spec: ModelSpec) -> Callable[[Any], Any]:
    """Return a model with its preprocessing as a ``tf.function`` of uint8[N, size, size, 3] RGB."""
    low, high = spec.value_range

    @tf.function(input_signature=[tf.TensorSpec([None, spec.size, spec.size, 3], tf.uint8)], autograph=False)
    def function(pixels: Any) -> Any:
        if spec.channel_order == "bgr":
            pixels = tf.reverse(pixels, axis=[-1])
        values = tf.cast(pixels, tf.float32) * ((high - low) / 255) + low
        return tf.cast(forward(values), tf.float32)

    return function
