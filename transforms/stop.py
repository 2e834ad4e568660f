"""A request to stop the work of this process, set by a signal or a lost lock and checked before each image."""

from __future__ import annotations

import threading

from transforms.errors import Stopped


class Stop:
    """A request to stop that stays until it is cleared. Thread-safe."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reason = ""

    def request(self, reason: str) -> None:
        """Make each ``check`` of this process raise ``Stopped``. The first reason is kept."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()

    def clear(self) -> None:
        """Remove the request, before other work begins."""
        self._requested.clear()

    def check(self) -> None:
        """Raise Stopped if a stop is requested."""
        if self._requested.is_set():
            raise Stopped(self._reason)


STOP = Stop()
