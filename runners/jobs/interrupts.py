"""Ctrl-C and SIGTERM: the command drops the work in progress, writes its report, and exits.

A second signal ends the process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transforms import run_state

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The process received a signal, or ``stop_work`` stopped it. code: The exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.code = 128 + number


@contextmanager
def handle_signals() -> Iterator[None]:
    """On a signal, stop all runs of this process and raise Interrupted in the main thread.

    In any other thread this does nothing, because Python sets signal handlers only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = [signal.signal(number, _interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, previous, strict=True):
            signal.signal(number, handler)


def stop_work(why: str) -> None:
    """Stop the work of this process as a signal does. Call it from any thread but the main one."""
    run_state.stop_all(why)
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    interrupted = Interrupted(number)
    run_state.stop_all(str(interrupted))
    raise interrupted
