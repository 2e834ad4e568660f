"""OpenVINO IR -> uint8[N, size, size, 3] -> float32[N, width]. The fast engine on CPUs."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from transforms.errors import EngineError, ModelError, OutOfMemory
from transforms.inference.engine import Floats, Pixels
from transforms.inference.libraries import core
from transforms.inference.spec import ModelSpec, Precision

_loading = threading.Lock()  # one at a time: see ``_Request``


class OpenVINOEngine:
    """Pictures one by one through the streams of a compiled model; scaling and channel order are in the IR.

    Several streams with a picture each beat one with a batch: no layer waits for all cores. A call takes the streams
    that are idle, and at least one, so that as many calls as there are streams run beside each other, of this model or
    of others. No callbacks, and so no ``AsyncInferQueue``: its threads need the interpreter's lock, and wait for it for
    ever when a model is dropped, under that lock, before they have ended.
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
        # int8 is in the IR itself; what it leaves in floats would be no faster in bf16, and less exact.
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # A thread that is bound to a core waits for it while another model, or a decoder, has it.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        self._compile = partial(core().compile_model, model, "CPU", config)
        try:
            compiled = self._compile()
            with _loading:
                self._streams = _Streams(compiled)
        except RuntimeError as error:
            raise ModelError(f"{model} is no model that OpenVINO can run: {line(error)}") from error
        self.parallel = self._streams.number
        self.batch = batch or 1
        self._calls = 0
        self._renewing = False
        self._changed = threading.Condition()

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        size = self._spec.size
        if pixels.shape[1:] != (size, size, 3):
            raise EngineError(f"{self._spec.name} takes pictures of {size}x{size}, not {list(pixels.shape)}")
        with self._changed:
            self._changed.wait_for(lambda: not self._renewing)
            self._calls += 1
            streams = self._streams
        try:
            return streams.infer(pixels)
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            failed = error
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()
        message = line(failed)
        self._start_anew(streams)
        memory = isinstance(failed, MemoryError) or "alloc" in message
        raise (OutOfMemory if memory else EngineError)(f"{self._spec.name}: {message}") from failed

    def _start_anew(self, failed: _Streams) -> None:
        """After an error, which may leave a model half way. Once no call is under way, as two models may not fit."""
        with self._changed:
            self._renewing = True
            try:
                self._changed.wait_for(lambda: self._streams is not failed or not self._calls)
                if self._streams is failed:
                    failed.drop()
                    self._streams = _Streams(self._compile())
            except RuntimeError as error:
                raise EngineError(f"{self._spec.name} failed and cannot be loaded again: {line(error)}") from error
            finally:
                self._renewing = False
                self._changed.notify_all()


class _Streams:
    """A compiled model, and a request for each picture that it runs at once."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.number: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._idle: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(self.number):
            self._idle.put(_Request(compiled.create_infer_request()))

    def infer(self, pixels: Pixels) -> Floats:
        """A picture a request, on all that are idle and at least one."""
        if self.compiled is None:
            raise RuntimeError("the model is not loaded")
        running: deque[_Request] = deque()
        rows: list[Floats] = []
        try:
            for picture in pixels:
                if running and self._idle.empty():
                    rows.append(running[0].wait())  # the oldest: pictures cost the same, so they end as they began
                    self._idle.put(running.popleft())
                running.append(self._idle.get())
                running[-1].start(picture)
            while running:
                rows.append(running[0].wait())
                self._idle.put(running.popleft())
        finally:
            for request in running:  # after an error
                with suppress(RuntimeError):
                    request.wait()
                self._idle.put(request)
        return np.stack(rows)

    def drop(self) -> None:
        """Let go of the model's memory, also where a traceback still holds on to this."""
        while not self._idle.empty():
            self._idle.get()
        self.compiled = None


class _Request:
    """What runs one picture, with a view of where OpenVINO wants it.

    Its own way from an array to an input is not taken: it costs more, and in two threads at once, the first time, each
    can wait for ever for a lock that the other has, the interpreter's and that of a table of types. Here the tables are
    all used once before there is a second thread.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._input: Pixels = request.get_input_tensor(0).data
        self._output()

    def start(self, picture: Pixels) -> None:
        """uint8[size, size, 3]; copied, and run beside the caller."""
        np.copyto(self._input[0], picture, casting="no")
        self._request.start_async()

    def wait(self) -> Floats:
        """Until it is done -> float32[width]."""
        self._request.wait()
        return np.array(self._output()[0], np.float32)

    def _output(self) -> Any:
        return self._request.get_output_tensor(0).data


def line(error: Exception) -> str:
    """The last line of what OpenVINO says, which tells where in its sources before."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
