"""SavedModel -> uint8[N, size, size, 3] -> float32[N, width], with TensorFlow. The reference engine."""

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

_loading = threading.Lock()  # one at a time: what is configured is the process's


class TensorFlowEngine:
    """One traced function from pixels to outputs, with scaling and channel order inside.

    Every call runs ``batch`` pictures, the last one padded, so that the function is traced once and memory is the same
    from the first call to the last. One call runs at a time: TensorFlow uses all cores for it anyway, and two would
    only double the memory. When memory runs out the batch is halved, and stays so.
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
            raise OutOfMemory(f"no memory for a batch of {len(padded)}: {saved_model.line(error)}") from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise EngineError(saved_model.line(error)) from error
        if outputs.ndim != 2 or len(outputs) != len(padded):
            raise EngineError(f"{self._spec.name} gives shape {list(outputs.shape)} for {len(padded)} pictures")
        return outputs[: len(part)].astype(np.float32, copy=False)


def _configure(precision: Precision, threads: int | None) -> None:
    """TensorFlow has one configuration a process. Its lists tell which operations may run in half the bits.

    On CPUs they run as bf16, through oneDNN; on GPUs as float16, which all that are in use compute fast.
    """
    gpus = tf.config.list_physical_devices("GPU")
    half = "auto_mixed_precision" if gpus else "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({half: precision == "bf16"})
    for gpu in gpus:
        with suppress(RuntimeError):  # set before, when the first model was loaded
            tf.config.experimental.set_memory_growth(gpu, True)
    if threads is not None:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def traced(forward: Callable[[Any], Any], spec: ModelSpec) -> Callable[[Any], Any]:
    """A model with what goes before it, as a ``tf.function`` of uint8[N, size, size, 3] RGB."""
    low, high = spec.value_range

    @tf.function(input_signature=[tf.TensorSpec([None, spec.size, spec.size, 3], tf.uint8)], autograph=False)
    def function(pixels: Any) -> Any:
        if spec.channel_order == "bgr":
            pixels = tf.reverse(pixels, axis=[-1])
        values = tf.cast(pixels, tf.float32) * ((high - low) / 255) + low
        return tf.cast(forward(values), tf.float32)

    return function
