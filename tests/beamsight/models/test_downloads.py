from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest

from beamsight.models import downloads


@pytest.mark.parametrize(("size_mb", "total"), [(265.4, " of about 265"), (None, "")])
def test_a_download_that_grows_is_reported(tmp_path: Path, size_mb: float | None, total: str) -> None:
    lines: queue.Queue[str] = queue.Queue()
    folder = tmp_path / "0123.some-id.tmp" / "variables"
    folder.mkdir(parents=True)
    (tmp_path / "4567.other.tmp").write_bytes(b"another model")
    with downloads.watch(tmp_path / "0123", size_mb, lines.put, seconds=0.01):
        (folder / "data").write_bytes(bytes(2_000_000))
        assert lines.get(timeout=10).endswith(f"{total} MB")
        (folder.parent / "saved_model.pb").write_bytes(bytes(5_000_000))
        while (line := lines.get(timeout=10)) != f"downloaded 7{total} MB":
            assert line.startswith("downloaded ")
    assert lines.empty(), "a size is reported once"


def test_a_download_that_stands_still_is_silent(tmp_path: Path) -> None:
    lines: list[str] = []
    with downloads.watch(tmp_path / "0123", 265, lines.append, seconds=0.001):
        threading.Event().wait(0.05)
    assert lines == []


def test_no_thread_without_a_reader(tmp_path: Path) -> None:
    before = threading.active_count()
    with downloads.watch(tmp_path / "0123", 265, downloads.ignore):
        assert threading.active_count() == before
    downloads.ignore("a line")


def test_the_thread_ends_with_the_block(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="cut off"), downloads.watch(tmp_path / "0123", 265, print, seconds=60):
        raise OSError("cut off")
    assert threading.active_count() == before
