"""Progress of a job: exact lines on a pipe, frames on a terminal, and messages of libraries beside the live line."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from runners.jobs.figures import Figures, line
from runners.jobs.progress import Clock, Progress, steps
from transforms.counts import Sums


class FakeClock(Clock):
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        zone = timezone(timedelta(hours=1))
        return datetime(2026, 11, 24, 2, 30, 0, 999_999, zone) + timedelta(seconds=self.seconds)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Job:
    """A job whose counters and clock a test sets. It reads the counters when told to, not by its own thread."""

    def __init__(self, stream: io.StringIO | None, *, show: bool = True, pipe_seconds: float = 600) -> None:
        self.live, self.clock, self.stream = Sums(), FakeClock(), stream
        self.progress = Progress(
            self.live, stream, show=show, look_seconds=300, pipe_seconds=pipe_seconds, clock=self.clock
        )

    def after(self, seconds: float, **added: int) -> None:
        self.live.add(Counter({name.replace("__", "/"): number for name, number in added.items()}))
        self.clock.seconds += seconds
        self.progress.update()

    def frames(self) -> list[str]:
        """What the terminal showed, each different frame once, without colours."""
        assert self.stream is not None
        text = re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]", "", self.stream.getvalue())
        frames = (frame.strip() for frame in re.split(r"(?:\r|\x1b\[2K|\x1b\[1A)+", text))
        return list(dict.fromkeys(frame for frame in frames if frame))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    ("tally", "elapsed", "speed", "expected"),
    [
        ({}, 3, None, "listing images"),
        ({"listed": 12_000}, 3, None, "listing images, 12,000 so far"),
        ({"listed": 12_000, "done before": 12_000}, 3, None, "no images to do"),
        ({"listed": 1200, "missing": 1200}, 3, None, "loading models, 1,200 images to do"),
        ({"listed": 1, "missing": 1}, 3, None, "loading models, 1 image to do"),
        (
            {"missing": 1200, "images": 300},
            100,
            3.0,
            "300 of 1,200 images (25%), 3.0 images/s, 1 min 40 s elapsed, 5 min 00 s left, 0 failures",
        ),
        ({"missing": 3, "images": 2, "failed/fetch": 1}, 9, None, "2 of 3 images (66%), 9 s elapsed, 1 failure"),
        ({"missing": 1, "images": 1}, 9, None, "1 of 1 image (100%), 9 s elapsed, 0 failures"),
        (
            {"missing": 4, "images": 4, "failed/decode": 2, "failed/fetch": 1},
            8,
            0.5,
            "4 of 4 images (100%), 0.50 images/s, 8 s elapsed, 3 failures",
        ),
    ],
)
def test_line(tally: dict[str, int], elapsed: float, speed: float | None, expected: str) -> None:
    assert line(Figures.of(Counter(tally), elapsed, speed)) == expected


def test_a_pipe_gets_the_reason_of_a_wait_once() -> None:
    reasons = ["queued", "queued", "", "queued again"]
    clock, stream = FakeClock(), io.StringIO()
    live = Progress(Sums(), stream, pipe_seconds=60, look_seconds=300, clock=clock, waiting=lambda: reasons.pop(0))
    for _ in range(4):
        clock.seconds += 60
        live.update()
    assert [text.split(" ", 1)[1] for text in stream.getvalue().splitlines()] == [
        "queued",
        "listing images",
        "queued again",
    ]


def run_to_the_end(job: Job) -> None:
    with job.progress:
        job.after(300)
        job.after(300, listed=8)
        job.after(300, missing=8)
        job.after(300, bytes=1)
        job.after(300, images=2, failed__decode=1)
        job.after(300, images=6)


@pytest.mark.parametrize("force_color", [False, True])
def test_a_pipe_gets_plain_lines_with_timestamps_and_one_at_the_end(
    force_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if force_color:
        monkeypatch.setenv("FORCE_COLOR", "1")
    job = Job(io.StringIO())
    run_to_the_end(job)
    assert job.stream is not None
    assert job.stream.getvalue().splitlines() == [
        "2026-11-24T02:40:00+01:00 listing images, 8 so far",
        "2026-11-24T02:50:00+01:00 loading models, 8 images to do",
        "2026-11-24T03:00:00+01:00 8 of 8 images (100%), 0.01 images/s, 30 min 00 s elapsed, 1 failure",
        "2026-11-24T03:00:00+01:00 8 of 8 images (100%), 0.01 images/s, 30 min 00 s elapsed, 1 failure",
    ]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    job = Job(Terminal())
    with job.progress:
        job.after(30, missing=5, images=2)
    assert job.stream is not None
    assert job.stream.getvalue() == "2026-11-24T02:30:30+01:00 2 of 5 images (40%), 30 s elapsed, 0 failures\n"


def test_the_speed_is_that_of_the_work() -> None:
    job = Job(io.StringIO(), pipe_seconds=1)
    with job.progress:
        job.after(1000, missing=100)  # listing and loading models
        job.after(1, bytes=1, images=10)
        job.after(10, images=40)
    assert job.stream is not None
    assert (
        job.stream.getvalue()
        .splitlines()[-1]
        .endswith("50 of 100 images (50%), 4.0 images/s, 16 min 51 s elapsed, 12 s left, 0 failures")
    )


def test_a_pipe_is_not_flooded_and_nothing_counted_is_not_shown() -> None:
    job = Job(io.StringIO())
    with job.progress:
        job.after(299)
    assert job.stream is not None
    assert job.stream.getvalue() == ""


def test_an_error_ends_it_without_another_line() -> None:
    job = Job(io.StringIO())

    def interrupted() -> None:
        with job.progress:
            job.after(300, missing=5, images=2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert job.stream is not None
    assert job.stream.getvalue() == ""


@pytest.mark.parametrize(("stream", "show"), [(None, True), (io.StringIO(), False), (Terminal(), False)])
def test_quiet(stream: io.StringIO | None, show: bool) -> None:
    job = Job(stream, show=show)
    run_to_the_end(job)
    assert stream is None or stream.getvalue() == ""


def test_a_terminal_shows_a_spinner_and_then_a_bar_that_is_removed_at_the_end() -> None:
    job = Job(Terminal())
    run_to_the_end(job)
    whole = "━" * 36
    assert job.frames() == [
        "- listing images",
        "- listing images, 8 so far",
        "- loading models, 8 images to do",
        f"{'━' * 4}╸{'━' * 13}  25%  2/8 images  1 failure  0.01 images/s  25 min 00 s elapsed  15 min 00 s left",
        f"{whole} 100%  8/8 images  1 failure  0.01 images/s  30 min 00 s elapsed",
    ]
    assert job.stream is not None
    assert job.stream.getvalue().endswith("\r\x1b[1A\x1b[2K")
    assert job.stream.getvalue().count("\x1b[?25h") == 2  # The cursor is visible during the run and after it.


def test_a_narrow_terminal_gets_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    job = Job(Terminal())
    with job.progress:
        job.after(300, missing=1200, bytes=1)
        job.after(300, images=300)
    assert job.frames()[-1].splitlines() == [
        f"{'━' * 6}╺{'━' * 18}  25%  300/1,200 images  0 failures",
        "1.0 images/s  10 min 00 s elapsed  15 min 00 s left",
    ]


def test_steps_on_a_pipe_are_lines_with_timestamps() -> None:
    stream, clock = io.StringIO(), FakeClock()
    with steps(stream, clock=clock) as report:
        report("downloading efficientnet-b7")
        clock.seconds = 61
        report("running efficientnet-b7 once")
    assert stream.getvalue() == (
        "2026-11-24T02:30:00+01:00 downloading efficientnet-b7\n"
        "2026-11-24T02:31:01+01:00 running efficientnet-b7 once\n"
    )


def test_steps_on_a_terminal_are_a_spinner() -> None:
    job = Job(Terminal())
    with steps(job.stream, clock=job.clock) as report:
        report("downloading efficientnet-b7")
        report("running efficientnet-b7 once")
    assert job.frames() == ["- downloading efficientnet-b7", "- running efficientnet-b7 once"]


@pytest.mark.parametrize("stream", [None, Terminal()])
def test_no_steps_show_nothing(stream: io.StringIO | None) -> None:
    with steps(stream) as report:
        if stream is None:
            report("downloading efficientnet-b7")
    assert stream is None or stream.getvalue() == ""


IN_A_TERMINAL = """
import os, sys
from collections import Counter
from runners.jobs.progress import Progress
from transforms.counts import Sums
assert "rich" not in sys.modules
live = Sums()
try:
    with Progress(live, sys.stderr):
        os.write(2, b"from C\\n")
        print("from Python")
        print("without an end", end="", file=sys.stderr)
        {error}
finally:
    print("after it")
"""


@pytest.mark.parametrize("error", ["", "raise SystemExit('an error')"])
def test_messages_do_not_break_the_live_line(error: str) -> None:
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL.format(error=error)], stdin=writer, stdout=writer, stderr=writer
    ) as running:
        os.close(writer)
        shown = b""
        try:
            while some := os.read(reader, 4096):
                shown += some
        except OSError:  # Linux reports the end of a terminal as an error.
            pass
    os.close(reader)
    assert running.returncode == bool(error)
    lines = shown.decode().replace("\x1b[?25l", "").replace("\x1b[?25h", "").split("\r\n")
    visible = [re.split(r"\r?\x1b\[(?:2K|1A)", text)[-1] for text in lines]
    expected = ["from C", "from Python", "without an end", "- listing images", "after it", *["an error"][: bool(error)]]
    spinners = re.compile(r"^[-\\|/] listing")
    assert [spinners.sub("- listing", text) for text in visible if text] == expected


def test_a_pipe_does_not_import_rich() -> None:
    program = (
        "import io, sys; from transforms.counts import Sums; from runners.jobs.progress import Progress\n"
        "with Progress(Sums(), io.StringIO()): pass\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
