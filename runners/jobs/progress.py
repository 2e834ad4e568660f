"""What a person sees while a job runs in this process: a live line on a terminal, now and then a line on a pipe."""

from __future__ import annotations

import shutil
import threading
import time
from types import TracebackType
from typing import Protocol, TextIO

from beamsight.text import duration
from transforms import counts
from transforms.counts import Tally

TERMINAL_SECONDS = 0.5
PIPE_SECONDS = 30.0


class Sums(Protocol):
    """What a job has counted: ``counts.Live`` of one in this process, or what is asked of a service."""

    def reset(self) -> None:
        """Forget what an earlier job counted."""

    def snapshot(self) -> Tally:
        """The sums so far."""


class Progress:
    """Shows the sums of ``live`` from a thread of its own for as long as the ``with`` block lasts."""

    def __init__(
        self,
        live: Sums,
        stream: TextIO,
        *,
        terminal_seconds: float | None = None,
        pipe_seconds: float = PIPE_SECONDS,
    ) -> None:
        self._live = live
        self._stream = stream
        self._terminal = stream.isatty()
        self._pause = (terminal_seconds or TERMINAL_SECONDS) if self._terminal else pipe_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._live.reset()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _show(self) -> None:
        began: float | None = None
        while not self._stop.wait(self._pause):
            tally = self._live.snapshot()
            now = time.monotonic()
            if began is None and tally[counts.BYTES] + tally[counts.IMAGES]:
                began = now  # the pace is that of the work, without the listing and the loading of models before it
            text = line(tally, now - began if began is not None else 0.0)
            if self._terminal:
                columns = shutil.get_terminal_size().columns
                self._stream.write(f"\r\x1b[K{text[: columns - 1]}")
            else:
                self._stream.write(f"{text}\n")
            self._stream.flush()


def line(tally: Tally, seconds: float) -> str:
    """Sums so far and the seconds of work -> ``120 of 512 images, 4.1 images/s, 1 min 36 s left, 2 failed``."""
    total, done = tally[counts.MISSING], tally[counts.IMAGES]
    if not done:
        return f"{total:,} images to do, none done yet" if total else "looking for images that are missing"
    parts = [f"{done:,} of {total:,} images"]
    if seconds > 0:
        pace = done / seconds
        parts += [f"{pace:.1f} images/s", f"{duration((total - done) / pace)} left"]
    failures = sum(counts.family(tally, counts.FAILED).values())
    parts.append(f"{failures:,} failed")
    return ", ".join(parts)
