"""The progress line and the thread that shows it."""

from __future__ import annotations

import io
import time
from collections import Counter

import pytest

from runners.jobs import progress
from transforms import counts
from transforms.counts import Live, Tally


@pytest.mark.parametrize(
    ("tally", "seconds", "expected"),
    [
        ({}, 0, "looking for images that are missing"),
        ({"missing": 1200}, 0, "1,200 images to do, none done yet"),
        ({"missing": 1200, "images": 300}, 100, "300 of 1,200 images, 3.0 images/s, 5 min 00 s left, 0 failed"),
        (
            {"missing": 4, "images": 4, "failed/decode": 2, "failed/fetch": 1},
            8,
            "4 of 4 images, 0.5 images/s, 0 s left, 3 failed",
        ),
    ],
)
def test_line(tally: dict[str, int], seconds: float, expected: str) -> None:
    assert progress.line(Counter(tally), seconds) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, tally: Tally, pipe_seconds: float) -> str:
    live = Live()
    live.add(Counter({"images": 99}))  # of an earlier run in this process
    with progress.Progress(live, stream, pipe_seconds=pipe_seconds):
        live.add(tally)
        for _ in range(300):
            if "2 of 5 images" in stream.getvalue():  # before that it may have looked once
                break
            time.sleep(0.01)
    return stream.getvalue()


def test_a_terminal_gets_one_live_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.01)
    monkeypatch.setenv("COLUMNS", "20")
    text = shown(Terminal(), Counter({counts.MISSING: 5, counts.IMAGES: 2}), 60)
    assert "\n" not in text
    lines = text.split("\r\x1b[K")
    assert lines[-2].startswith("2 of 5 images")
    assert max(map(len, lines)) < 20
    assert text.endswith("\r\x1b[K")


def test_a_pipe_gets_plain_lines() -> None:
    text = shown(io.StringIO(), Counter({counts.MISSING: 5, counts.IMAGES: 2}), 0.01)
    assert text.splitlines()[-1].startswith("2 of 5 images")
    assert "\r" not in text


def test_a_pipe_is_not_flooded() -> None:
    stream = io.StringIO()
    with progress.Progress(Live(), stream):
        time.sleep(0.05)
    assert stream.getvalue() == ""
