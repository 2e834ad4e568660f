"""Progress of a job: a live bar on a terminal, a line with a timestamp now and then on a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from beamsight.text import count
from runners.jobs import terminal
from runners.jobs.figures import Figures, line
from transforms import counts
from transforms.counts import Tally

if TYPE_CHECKING:
    from rich.console import RenderableType

LOOK_SECONDS = 0.5  # between reads of the counters
PIPE_SECONDS = 30.0  # between lines on a pipe


class Counters(Protocol):
    """The counters of a job: those of this process, or those that a service reports."""

    def snapshot(self) -> Tally:
        """Return the counts so far, by the keys of ``transforms.counts``."""


class Clock:
    """The time, so that tests can set it."""

    def monotonic(self) -> float:
        """Return seconds since some moment. They never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the local time, with its offset from UTC."""
        return datetime.now().astimezone()


class Progress:
    """Show the counters of a job while the ``with`` block lasts.

    A stream that is not a terminal also gets a line at the end, unless the block raises an error.
    """

    def __init__(
        self,
        counters: Counters,
        stream: TextIO | None,
        *,
        show: bool = True,
        look_seconds: float = LOOK_SECONDS,
        pipe_seconds: float = PIPE_SECONDS,
        clock: Clock | None = None,
        waiting: Callable[[], str] = lambda: "",
    ) -> None:
        """Set up the display.

        Args:
            counters: Where the figures come from.
            stream: The terminal, file or pipe that shows them. None shows nothing.
            show: False shows nothing, as ``--quiet`` asks.
            look_seconds: Seconds between reads of the counters.
            pipe_seconds: Seconds between lines on a stream that is not a terminal.
            clock: The time.
            waiting: Returns what to show instead of the figures while the job waits, or an empty text. A pipe gets
                each such text once.
        """
        self._counters = counters
        self._waiting, self._waited_for = waiting, ""
        self._stream = stream if show else None
        self._clock = clock or Clock()
        self._look_seconds = min(look_seconds, pipe_seconds)
        self._pipe_seconds = pipe_seconds
        self._began = self._looked = self._printed = self._clock.monotonic()
        self._tally: Tally = Counter()
        self._first: tuple[float, int] | None = None  # the time and the images done when work was first seen
        self._refresh: Callable[[], None] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Progress:
        if self._stream is None:
            return self
        self._began = self._looked = self._printed = self._clock.monotonic()
        pause = self._look_seconds
        if terminal.is_terminal(self._stream):
            pause = terminal.FRAME_SECONDS
            self._refresh = self._stack.enter_context(terminal.live(self._stream, self._render))
        self._stack.enter_context(terminal.every(pause, self.update))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None and self._stream is not None and self._refresh is None:
            self._look(self._clock.monotonic())
            if self._tally:
                _print(self._stream, self._clock, line(self._figures()))

    def update(self) -> None:
        """Read the counters and show them, each if it is due."""
        now = self._clock.monotonic()
        if now - self._looked >= self._look_seconds:
            self._look(now)
        if self._refresh is not None:
            self._refresh()
        elif self._stream is not None and now - self._printed >= self._pipe_seconds:
            self._printed = now
            waiting = self._waiting()
            if not waiting or waiting != self._waited_for:
                _print(self._stream, self._clock, waiting or line(self._figures()))
            self._waited_for = waiting

    def _look(self, now: float) -> None:
        self._looked = now
        self._tally = self._counters.snapshot()
        if self._first is None and self._tally[counts.BYTES] + self._tally[counts.IMAGES]:
            self._first = now, self._tally[counts.IMAGES]

    def _figures(self) -> Figures:
        speed = None
        if self._first is not None and self._looked > self._first[0]:
            speed = (self._tally[counts.IMAGES] - self._first[1]) / (self._looked - self._first[0])
        return Figures.of(self._tally, self._clock.monotonic() - self._began, speed)

    def _render(self) -> RenderableType:
        figures = self._figures()
        if waiting := self._waiting():
            return terminal.spinner(waiting, self._clock.monotonic())
        if not figures.done:
            return terminal.spinner(figures.stage(), self._clock.monotonic())
        failures = count(figures.failures, "failure")
        done = f"{figures.share():>4}  {figures.done:,}/{count(figures.total, 'image')}  {failures}"
        return terminal.Bar(figures.done, figures.total, done, "  ".join(figures.rates()))


def _print(stream: TextIO, clock: Clock, text: str) -> None:
    stream.write(f"{clock.now().isoformat(timespec='seconds')} {text}\n")
    stream.flush()


@contextmanager
def steps(stream: TextIO | None, *, clock: Clock | None = None) -> Iterator[Callable[[str], None]]:
    """Show the steps of something that takes long and has no counters, such as the download of a model.

    Args:
        stream: Where to show them. A terminal gets a spinner with the latest step, from the first step on until the
            block ends. Other streams get a line with a timestamp for each step. None shows nothing.
        clock: The time.

    Yields:
        A function that shows a step, such as "downloading efficientnet-b7".
    """
    time_ = clock or Clock()
    latest = ""
    refresh: Callable[[], None] | None = None
    on_terminal = stream is not None and terminal.is_terminal(stream)
    with ExitStack() as stack:

        def report(text: str) -> None:
            nonlocal latest, refresh
            latest = text
            if stream is None:
                return
            if not on_terminal:
                _print(stream, time_, text)
            elif refresh is not None:
                refresh()
            else:
                render = lambda: terminal.spinner(latest, time_.monotonic())  # noqa: E731
                refresh = stack.enter_context(terminal.live(stream, render))
                stack.enter_context(terminal.every(terminal.FRAME_SECONDS, refresh))

        yield report
