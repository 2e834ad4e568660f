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
    """Pictures one by one through all streams of a compiled model; scaling and channel order are in the IR.

    Several streams with a picture each beat one with a batch: no layer waits for all cores. One call runs at a time, as
    it uses all of them. No callbacks, and so no ``AsyncInferQueue``: its threads need the interpreter's lock, and wait
    for it for ever when a model is dropped, under that lock, before they have ended.
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
            self._requests = self._new_requests()
        except RuntimeError as error:
            raise ModelError(f"{model} is no model that OpenVINO can run: {line(error)}") from error
        self.batch = batch or ROUNDS * len(self._requests)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        with self._running:
            rows: list[Floats] = []
            ahead = len(self._requests)
            try:
                for index in range(len(pixels) + ahead):
                    request = self._requests[index % ahead]
                    if index >= ahead:
                        request.wait()  # the oldest: pictures cost the same, so they end as they began
                        rows.append(request.get_output_tensor(0).data[0].astype(np.float32))
                    if index < len(pixels):
                        request.start_async({0: pixels[index : index + 1]})
                return np.stack(rows)
            except (RuntimeError, ValueError, TypeError, MemoryError) as error:
                self._start_anew()
                message = line(error)
                memory = isinstance(error, MemoryError) or "alloc" in message
                raise (OutOfMemory if memory else EngineError)(f"{self._spec.name}: {message}") from error

    def _new_requests(self) -> list[Any]:
        compiled = self._compile()
        number = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        return [compiled.create_infer_request() for _ in range(number)]

    def _start_anew(self) -> None:
        """After an error, which may leave a model half way. What still runs in the old one is waited for first."""
        for request in self._requests:
            with suppress(RuntimeError):
                request.wait()
        del request, self._requests  # two models at once may not fit
        self._requests = self._new_requests()


def line(error: Exception) -> str:
    """The last line of what OpenVINO says, which tells where in its sources before."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
