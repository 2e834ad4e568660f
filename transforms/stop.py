"""Whether the work of this process shall stop, and why: asked by a signal or a lost lock, looked at image by image."""

from __future__ import annotations

import threading

from transforms.errors import Stopped


class Stop:
    """A wish that stays until it is taken back. Thread-safe."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._why = ""

    def request(self, why: str) -> None:
        """Have all work of this process end as soon as it looks. The first reason counts."""
        if not self._asked.is_set():
            self._why = why
            self._asked.set()

    def clear(self) -> None:
        """Forget it, before other work begins."""
        self._asked.clear()

    def check(self) -> None:
        """Raises Stopped once it was asked for."""
        if self._asked.is_set():
            raise Stopped(self._why)


STOP = Stop()
