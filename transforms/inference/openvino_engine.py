"""OpenVINO IR -> uint8[N, size, size, 3] -> float32[N, width]. The fast engine on CPUs."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import EngineError, ModelError, OutOfMemory
from transforms.inference.engine import Floats, Pixels
from transforms.inference.openvino_import import openvino
from transforms.inference.spec import ModelSpec, Precision

ov = openvino()

ROUNDS = 8  # pictures a stream in a batch: streams that are done wait for the last one, a sixteenth of its time


class OpenVINOEngine:
    """Pictures one by one through all streams of an asynchronous queue; scaling and channel order are in the IR.

    Several streams with a picture each beat one with a batch: no layer waits for all cores. One call runs at a time, as
    it uses all of them.
    """

    def __init__(
        self,
        model: Path,
        spec: ModelSpec,
        precision: Precision,
        *,
        batch: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._spec = spec
        self._running = threading.Lock()
        # int8 is in the IR itself; what it leaves in floats is computed as f32.
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        self._compile = partial(ov.Core().compile_model, model, "CPU", config)
        try:
            self._queue = self._new_queue()
        except RuntimeError as error:
            raise ModelError(f"{model} is no model that OpenVINO can run: {line(error)}") from error
        self.batch = batch or ROUNDS * len(self._queue)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        with self._running:
            rows: list[Floats] = [np.empty(0, np.float32)] * len(pixels)
            try:
                for index in range(len(pixels)):
                    self._queue.start_async({0: pixels[index : index + 1]}, (rows, index))
                self._queue.wait_all()
                return np.stack(rows)
            except (RuntimeError, ValueError, TypeError, MemoryError) as error:
                self._start_anew()
                message = line(error)
                memory = isinstance(error, MemoryError) or "alloc" in message
                raise (OutOfMemory if memory else EngineError)(f"{self._spec.name}: {message}") from error

    def _new_queue(self) -> Any:
        queue = ov.AsyncInferQueue(self._compile())
        queue.set_callback(_take)
        return queue

    def _start_anew(self) -> None:
        """After an error: a queue raises it again for ever, and the model below it may be left half way.

        What still runs in the old queue is waited for first.
        """
        for request in self._queue:
            with suppress(RuntimeError):
                request.wait()
        del request, self._queue  # two at once may not fit
        self._queue = self._new_queue()


def _take(request: Any, place: tuple[list[Floats], int]) -> None:
    rows, index = place
    rows[index] = request.get_output_tensor(0).data[0].astype(np.float32)


def line(error: Exception) -> str:
    """The last line of what OpenVINO says, which tells where in its sources before."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
