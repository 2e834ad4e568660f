"""Call a function with a time limit, because a storage or a server may not answer for minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoResult
from typing import TypeVar

from transforms.errors import Unreadable

_T = TypeVar("_T")


def call(work: Callable[[], _T], seconds: float) -> _T:
    """Return the result of a function that runs in a thread of its own.

    Args:
        work: The function. When the time is over, its thread continues, and its result is dropped. The thread does not
            keep the process alive.
        seconds: The time limit.

    Raises:
        Unreadable: The function did not end in time.
    """
    try:
        return start(work).result(max(0.0, seconds))
    except NoResult as error:
        raise Unreadable("no answer in time", retryable=True) from error


def start(work: Callable[[], _T]) -> Future[_T]:
    """Start a function in a thread that does not keep the process alive. Return its future result."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # Future.result raises it.
            future.set_exception(error)

    threading.Thread(target=run, name="time limit", daemon=True).start()
    return future
