"""Ctrl-C and SIGTERM end a command in the same way: work in hand is dropped, what is known is reported, and it exits.

A second signal ends it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transforms.stop import STOP

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end, or something in it that does as if."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.code = 128 + number


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise Interrupted in the main thread at a signal, and tell the work of all other threads to stop.

    Elsewhere than in the main thread, where Python sets no handlers, nothing.
    """
    STOP.take_back()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, _end) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def stop_work(why: str) -> None:
    """From a thread beside the main one: have the work of this process end, as at a signal."""
    STOP.ask(why)
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _end(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    interrupted = Interrupted(number)
    STOP.ask(str(interrupted))
    raise interrupted
