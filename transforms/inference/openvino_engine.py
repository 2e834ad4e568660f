"""The engine that runs IRs with OpenVINO. It is the fast one on CPUs."""

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
from transforms.inference import compiled
from transforms.inference.engine import Floats, Pixels
from transforms.inference.spec import ModelSpec, Precision

_loading = threading.Lock()  # one at a time, see ``_Request``


class OpenVINOEngine:
    """Runs one image in each stream of a compiled model. The scaling and the channel order are in the IR.

    Several streams with one image each are faster than one stream with a batch, because no layer waits for all cores.
    A call uses all idle streams, or waits for one. So the number of concurrent calls, of this and other models, equals
    the number of streams.

    The engine does not use callbacks or ``AsyncInferQueue``. Their threads need the interpreter's lock, which a thread
    holds while it deletes a model, so both can wait for each other forever.
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
        # An int8 IR has its precision inside. Its float operations would not be faster in bf16, only less exact.
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # A pinned thread waits for its core while another model or a decoder uses it.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        self._compile = partial(compiled.compile_model, model, config)
        try:
            loaded = self._compile()
            with _loading:
                self._streams = _Streams(loaded)
        except (RuntimeError, OSError) as error:
            raise ModelError(f"OpenVINO cannot run {model}: {line(error)}") from error
        takes = list(loaded.input(0).shape)
        if takes != [1, spec.size, spec.size, 3]:
            raise ModelError(f"{model} takes {takes}, but model.json says {spec.size} pixels; stage the model again")
        self.parallel = self._streams.number
        self.batch = batch or 1
        self._calls = 0
        self._reloading = False
        self._changed = threading.Condition()

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        size = self._spec.size
        if pixels.shape[1:] != (size, size, 3):
            raise EngineError(f"{self._spec.name} needs images of {size}x{size}, not {list(pixels.shape)}")
        with self._changed:
            self._changed.wait_for(lambda: not self._reloading)
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
        self._reload(streams)
        memory = isinstance(failed, MemoryError) or "alloc" in message
        raise (OutOfMemory if memory else EngineError)(f"{self._spec.name}: {message}") from failed

    def _reload(self, failed: _Streams) -> None:
        """Load the model again after an error, because its state may be invalid.

        This waits until no call is in progress, because memory may not suffice for two models.
        """
        with self._changed:
            self._reloading = True
            try:
                self._changed.wait_for(lambda: self._streams is not failed or not self._calls)
                if self._streams is failed:
                    failed.drop()
                    self._streams = _Streams(self._compile())
            except (RuntimeError, OSError) as error:
                raise EngineError(f"{self._spec.name} failed and cannot be loaded again: {line(error)}") from error
            finally:
                self._reloading = False
                self._changed.notify_all()


class _Streams:
    """A compiled model with one request for each stream."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.number: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._idle: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(self.number):
            self._idle.put(_Request(compiled.create_infer_request()))

    def infer(self, pixels: Pixels) -> Floats:
        """Run one image in each request, on all idle requests and at least one."""
        if self.compiled is None:
            raise RuntimeError("the model is not loaded")
        running: deque[_Request] = deque()
        rows: list[Floats] = []
        try:
            for image in pixels:
                if running and self._idle.empty():
                    rows.append(running[0].wait())  # the oldest: all images cost the same, so requests end in order
                    self._idle.put(running.popleft())
                running.append(self._idle.get())
                running[-1].start(image)
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
        """Release the memory of the model, even if a traceback still refers to this object."""
        while not self._idle.empty():
            self._idle.get()
        self.compiled = None


class _Request:
    """A request that runs one image, with a view of its input memory.

    OpenVINO's own conversion of arrays is slower. Its first use in two threads can also deadlock, on the interpreter's
    lock and the lock of a table of types. Here, all tables are used once before a second thread starts.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._input: Pixels = request.get_input_tensor(0).data
        self._output()

    def start(self, image: Pixels) -> None:
        """Copy an image, uint8[size, size, 3], and start to run it in the background."""
        np.copyto(self._input[0], image, casting="no")
        self._request.start_async()

    def wait(self) -> Floats:
        """Wait for the end, and return float32[width]."""
        self._request.wait()
        return np.array(self._output()[0], np.float32)

    def _output(self) -> Any:
        return self._request.get_output_tensor(0).data


def line(error: Exception) -> str:
    """Return the last line of an error. The lines before it are places in the sources of OpenVINO."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
