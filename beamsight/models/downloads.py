"""Report how far the download of a model is.

tensorflow-hub reports nothing. While it downloads, it unpacks the files into a temporary folder in its cache, and the
size of that folder is the progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Report = Callable[[str], None]
"""Receives one short line for each step."""

SECONDS = 3.0  # between two lines


def ignore(_: str) -> None:
    """Report nothing."""


@contextmanager
def watch(module: Path, size_mb: float | None, report: Report, seconds: float = SECONDS) -> Iterator[None]:
    """Report the bytes of a running download every few seconds, from a thread, until the block ends.

    Args:
        module: Folder where tensorflow-hub keeps the model. It downloads to ``<module>.<id>.tmp`` beside it.
        size_mb: Expected size in MB, or None where it is unknown.
        report: Receives lines such as ``downloaded 120 of about 265 MB``. A line is sent only when the size has grown.
        seconds: Time between two lines.
    """
    if report is ignore:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_report_size, args=(module, size_mb, report, seconds, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _report_size(module: Path, size_mb: float | None, report: Report, seconds: float, ended: threading.Event) -> None:
    total = "" if size_mb is None else f" of about {size_mb:.0f}"
    reported = 0
    while not ended.wait(seconds):
        size = sum(map(_size, module.parent.glob(f"{module.name}.*.tmp")))
        if size > reported:
            reported = size
            report(f"downloaded {size / 1e6:.0f}{total} MB")


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder, or 0 where the folder is renamed at this moment."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0
