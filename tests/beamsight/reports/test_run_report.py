"""The run report: its sums add up, and its summary says what a person wants to know."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from beamsight.reports import run_report

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
TALLY = Counter(
    {
        "listed": 1010,
        "ignored": 2,
        "duplicates": 10,
        "done before": 300,
        "failed before": 100,
        "missing": 600,
        "images": 600,
        "units": 2,
        "bytes": 5000,
        "ok/predictions/model=m-1": 596,
        "failed/decode": 3,
        "failed/fetch": 1,
        "passing": 1,
        "reason/decode/Truncated": 2,
        "reason/decode/NotAnImage": 1,
        "reason/fetch/NotFound": 1,
        "ns/decode": 1_500_000_000,
    }
)


def run(output: str = "/out") -> run_report.Run:
    return run_report.Run("r1", output, START, {"images": ["a"]}, {"predictions/model=m-1": {"model": "m"}})


def test_compose() -> None:
    made = run_report.compose(TALLY, run(), START + timedelta(seconds=200))
    assert (made["state"], made["error"], made["seconds"], made["images_per_second"]) == ("done", None, 200, 3)
    assert made["counts"] == {
        "listed": 1010,
        "ignored": 2,
        "duplicates": 10,
        "already_done": 300,
        "failed_before": 100,
        "missing": 600,
        "images": 600,
        "ok": {"predictions/model=m-1": 596},
        "failed": {"decode": 3, "fetch": 1},
        "failed_for_now": 1,
        "units": 2,
        "bytes": 5000,
    }
    assert made["reasons"] == {"decode/Truncated": 2, "decode/NotAnImage": 1, "fetch/NotFound": 1}
    assert made["seconds_by_step"] == {"decode": 1.5}
    assert made["models"] == {"predictions/model=m-1": {"model": "m"}}
    assert made["options"] == {"images": ["a"]}
    assert made["host"].keys() == {"name", "cpus", "system"}
    assert {"python", "beamsight", "apache-beam", "openvino", "tensorflow"} <= made["versions"].keys()


def test_written_and_read_back(tmp_path: Path) -> None:
    run_report.write(Counter(), run(str(tmp_path)), "running")
    running = run_report.read(run(str(tmp_path)))
    assert (running["state"], running["finished_at"]) == ("running", None)
    run_report.write(TALLY, run(str(tmp_path)), "failed", "the bucket is gone")
    assert json.loads((tmp_path / "runs" / "r1.json").read_text())["error"] == "the bucket is gone"


def test_summary() -> None:
    made = run_report.compose(TALLY, run(), START + timedelta(seconds=200))
    assert run_report.summary(made, "/out").splitlines() == [
        "done: 600 images in 3 min 20 s, 3.00 images/s with start-up",
        "  596 new rows            /out/predictions/model=m-1/",
        "  4 failures              /out/failures/",
        "    2 decode: Truncated",
        "    1 decode: NotAnImage",
        "    1 fetch: NotFound",
        "  skipped: 10 named more than once, 300 done before, 100 failed for good before "
        "(--retry-failed tries them again), 2 other files of the folders",
        "  report: /out/runs/r1.json",
    ]


def test_summary_of_a_run_that_had_nothing_to_do() -> None:
    tally = Counter({"listed": 12, "duplicates": 2, "done before": 10})
    made = run_report.compose(tally, run(), START + timedelta(seconds=1))
    assert run_report.summary(made, "/out").startswith(
        "nothing to do: none of the 10 images is missing from the tables\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (18_420, "5 h 07 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert run_report.duration(seconds) == text
