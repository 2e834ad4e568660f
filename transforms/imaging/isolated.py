"""Decode images in a child process, so that a file that crashes the decoder does not end the worker.

Only images that were in progress when a process died are decoded here. The child decodes one image at a time.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from transforms.errors import Fatal, ImageError, Stopped
from transforms.imaging import opening
from transforms.imaging.opening import Opened
from transforms.inference.spec import ModelSpec

_TRIES = 2  # Something else can end a child once, but hardly twice at the same image.
_BYTES_PER_PIXEL = 40  # that the child may allocate for an image with the greatest allowed number of pixels
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})  # sent on purpose, by a person or a service manager

_PROGRAM = "import sys; sys.path[:] = {path!r}; from transforms.imaging import isolated; isolated.serve({max_memory})"


class IsolatedDecoder:
    """Does what ``opening.open_image`` does, in a child that the first call starts. Thread-safe."""

    def __init__(self, max_pixels: int) -> None:
        self._max_memory = _BYTES_PER_PIXEL * max_pixels
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        """End the child. A call in progress raises Stopped."""
        self._is_closed = True
        if (child := self._child) is not None:
            child.kill()
        with self._lock:
            self._end()

    def __call__(self, data: bytes, specs: dict[str, ModelSpec], max_pixels: int) -> Opened:
        """Decode and fit an image, see ``opening.open_image``.

        Raises:
            Fatal: The image ended the child, or needed too much memory.
        """
        request = pickle.dumps((data, specs, max_pixels))
        with self._lock:
            answer: Any = None
            for _ in range(_TRIES):
                answer = self._ask(request)
                if not isinstance(answer, Fatal):
                    break
        if isinstance(answer, ImageError) and answer.retryable:  # too little memory
            raise Fatal(f"the image cannot be decoded in a process of its own: {answer}")
        if isinstance(answer, BaseException):
            raise answer
        opened: Opened = answer
        return opened

    def _ask(self, request: bytes) -> object:
        """Return the answer of the child, or Fatal if the request ends it."""
        if self._is_closed:
            raise Stopped("the unit of this image has ended")
        child = self._child or self._start()
        try:
            _send(child.stdin, request)
            return pickle.load(child.stdout)  # type: ignore[arg-type]  # it is a pipe
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._end()
        if self._is_closed or -code in _STOPS:
            raise Stopped("the process that decodes images was stopped")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Fatal(f"the image ended the process that decoded it, with {how}")

    def _start(self) -> subprocess.Popen[bytes]:
        program = _PROGRAM.format(path=sys.path, max_memory=self._max_memory)
        child = self._child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        if child.stdout.read(1) != b"\n":  # type: ignore[union-attr]  # it is a pipe
            code = self._end()
            if self._is_closed:
                raise Stopped("the unit of this image has ended")
            raise RuntimeError(f"the process that decodes images ended with exit code {code} before its first image")
        return child

    def _end(self) -> int:
        """End the child, and return its exit code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        return child.wait()


def _send(pipe: Any, data: bytes) -> None:
    pipe.write(data)
    pipe.flush()


def serve(max_memory: int) -> None:
    """Answer requests on stdin until it ends. Runs in the child."""
    answers: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    _limit_memory(max_memory)
    _send(answers, b"\n")
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object
        try:
            answer = opening.open_image(*request)
        except MemoryError:
            answer = Fatal(f"the image needs more than {max_memory:,} bytes of memory")
        except Exception as error:  # The parent raises it.
            answer = error
        _send(answers, pickle.dumps(answer))


def _limit_memory(max_memory: int) -> None:
    """Let an allocation fail, or the system end this process, before the worker lacks memory. Only Linux can."""
    with suppress(OSError, ValueError, StopIteration):
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        used = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + max_memory, resource.RLIM_INFINITY))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
