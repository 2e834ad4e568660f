"""A live line at the bottom of a terminal. Messages of libraries appear above it and do not break it."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

FRAME_SECONDS = 0.2
_JOIN_SECONDS = 1.0  # for a call in progress, which may wait for a server

_STDOUT, _STDERR = 1, 2
_FRAMES = "-\\|/"  # of the spinner
_BAR_COLUMNS = 10  # of the shortest bar that shares its line with the figures


def is_terminal(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal that understands control codes."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


@contextmanager
def live(stream: TextIO, render: Callable[[], RenderableType]) -> Iterator[Callable[[], None]]:
    """Show what ``render`` returns at the bottom of a terminal, and remove it when the block ends.

    Args:
        stream: The terminal.
        render: Returns what to show now.

    Yields:
        A function that draws the line again. Messages that were written since then appear above it.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with ExitStack() as stack:
        file, held = _open(stream, stack)
        console = Console(file=file, force_terminal=True, force_interactive=True)
        lines = Live(
            console=console,
            get_renderable=render,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        lock = threading.Lock()

        def refresh(end: bool = False) -> None:
            with lock:
                if held is not None:
                    console.width = os.get_terminal_size(file.fileno()).columns or console.width
                    for message in held.take(end):
                        console.print(Text.from_ansi(message), soft_wrap=True)
                lines.refresh()

        lines.start()
        console.show_cursor(True)  # A process that is killed cannot show it again.
        refresh()
        try:
            yield refresh
        finally:
            if held is not None:
                held.release()
            refresh(end=True)
            lines.stop()


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with figures, in one line, or in two where the terminal is narrow."""

    done: int
    total: int
    count: str
    rates: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        figures = [f" {self.count}  {self.rates}"]
        if options.max_width - len(figures[0]) < _BAR_COLUMNS:
            figures = [f" {self.count}", self.rates]
        columns = max(options.max_width - len(figures[0]), 1)
        yield from console.render(ProgressBar(self.total, self.done, width=min(columns, 40)), options)
        for text in figures:
            yield Text(text, no_wrap=True, overflow="ellipsis")


def spinner(text: str, seconds: float) -> RenderableType:
    """Return a spinner with a text, as it looks ``seconds`` after some moment."""
    from rich.text import Text

    return Text(f"{_FRAMES[int(seconds / FRAME_SECONDS) % len(_FRAMES)]} {text}", no_wrap=True, overflow="ellipsis")


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function from a thread every ``seconds`` until the block ends."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_JOIN_SECONDS)


def _open(stream: TextIO, stack: ExitStack) -> tuple[IO[str], _HeldMessages | None]:
    """Return a file that writes to the terminal, and what else this process writes to it meanwhile."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # It is a stream in memory.
        return stream, None
    encoding = stream.encoding or "utf-8"
    copy = stack.enter_context(os.fdopen(os.dup(descriptor), "w", encoding=encoding, errors="backslashreplace"))
    return copy, stack.enter_context(_HeldMessages())


class _HeldMessages:
    """What this process writes to stdout and stderr where these are a terminal, collected in a temporary file.

    Libraries in C write to the descriptors and not to ``sys.stderr``, so the descriptors are redirected. A pipe would
    block its writer when it is full. That is a deadlock if the writer holds the GIL.
    """

    def __enter__(self) -> _HeldMessages:
        self._file = tempfile.TemporaryFile()
        self._position = 0
        _flush()
        self._terminals = {number: os.dup(number) for number in (_STDOUT, _STDERR) if os.isatty(number)}
        for number in self._terminals:
            os.dup2(self._file.fileno(), number)
        return self

    def take(self, end: bool) -> list[str]:
        """Return the complete lines that were written since the last call; at the end, also an incomplete one."""
        descriptor = self._file.fileno()
        data = os.pread(descriptor, os.fstat(descriptor).st_size - self._position, self._position)
        if not end:
            data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        return data.decode(errors="backslashreplace").splitlines()

    def release(self) -> None:
        """Make stdout and stderr the terminal again."""
        _flush()
        for number, terminal in self._terminals.items():
            os.dup2(terminal, number)
            os.close(terminal)
        self._terminals = {}

    def __exit__(self, *_: object) -> None:
        self.release()
        self._file.close()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
