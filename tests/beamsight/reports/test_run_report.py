"""The run report: its counts and its summary."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import nights
import pytest
from gcs_server import Bucket
from nights import Nights

from beamsight.reports import failures, list_failures, run_report, runs
from beamsight.text import duration, printable
from transforms.tables import publish

ROOT = Path(__file__).parents[3]
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
TALLY = Counter(
    {
        "listed": 1010,
        "ignored": 2,
        "shards": 0,
        "shards_already_done": 0,
        "duplicates": 10,
        "done before": 300,
        "failed before": 100,
        "missing": 600,
        "images": 600,
        "units": 2,
        "bytes": 5000,
        "published": 2,
        "published rows": 603,
        "leftover rows": 7,
        "ok/predictions/model=m-1": 596,
        "failed/decode": 3,
        "failed/fetch": 1,
        "transient": 1,
        "reason/decode/Truncated": 2,
        "reason/decode/NotAnImage": 1,
        "reason/fetch/NotFound": 1,
        "ns/decode": 1_500_000_000,
    }
)


def run(output: str = "/out") -> run_report.Run:
    return run_report.Run("r1", output, START, {"images": ["a"]}, {"predictions/model=m-1": {"model": "m"}})


def test_compose() -> None:
    report = run_report.compose(TALLY, run(), START + timedelta(seconds=200))
    assert (report["state"], report["error"], report["seconds"], report["images_per_second"]) == ("done", None, 200, 3)
    assert report["counts"] == {
        "listed": 1010,
        "ignored": 2,
        "shards": 0,
        "shards_already_done": 0,
        "duplicates": 10,
        "already_done": 300,
        "failed_before": 100,
        "left": 0,
        "missing": 600,
        "images": 600,
        "ok": {"predictions/model=m-1": 596},
        "failed": {"decode": 3, "fetch": 1},
        "failed_for_now": 1,
        "units": 2,
        "bytes": 5000,
        "published": {"files": 2, "rows": 603, "rows_of_earlier_runs": 7},
    }
    assert report["reasons"] == {"decode/Truncated": 2, "decode/NotAnImage": 1, "fetch/NotFound": 1}
    assert report["seconds_by_step"] == {"decode": 1.5}
    assert report["models"] == {"predictions/model=m-1": {"model": "m"}}
    assert report["options"] == {"images": ["a"]}
    assert report["host"].keys() == {"name", "cpus", "system"}
    assert {"python", "beamsight", "apache-beam", "openvino", "tensorflow"} <= report["versions"].keys()


def test_written_and_read_back(tmp_path: Path) -> None:
    run_report.write(Counter(), run(str(tmp_path)), "running")
    running = run_report.read(run(str(tmp_path)))
    assert (running["state"], running["finished_at"]) == ("running", None)
    run_report.write(TALLY, run(str(tmp_path)), "failed", "the bucket is gone")
    assert json.loads((tmp_path / "runs" / "r1.json").read_text())["error"] == "the bucket is gone"


def test_summary() -> None:
    report = run_report.compose(TALLY, run(), START + timedelta(seconds=200))
    assert run_report.summary(report, "/out").splitlines() == [
        "done: 600 images in 3 min 20 s, 3.00 images/s with start-up",
        "  596 new rows            /out/predictions/model=m-1/",
        "  4 failures              /out/failures/",
        "    2 decode: Truncated",
        "    1 decode: NotAnImage",
        "    1 fetch: NotFound",
        f"  list all failures of this run: {failures.list_command('/out', 'r1')}",
        "  skipped: 10 listed more than once, 300 done before, 100 failed permanently before "
        "(--retry-failed tries them again), 2 without an image suffix",
        "  published 7 rows that earlier runs had finished",
        "  report: /out/runs/r1.json",
    ]


def test_summary_of_a_run_without_missing_images() -> None:
    tally = Counter({"listed": 12, "duplicates": 2, "done before": 10})
    report = run_report.compose(tally, run(), START + timedelta(seconds=1))
    assert run_report.summary(report, "/out").startswith(
        "nothing to do: none of the 10 images is missing from the tables\n"
    )


def write_failures(output: Nights) -> tuple[dict[str, Any], list[str]]:
    """Run once with failures of two reasons; return the report and the URIs of the failed images."""
    images = nights.pictures(range(2))
    broken = {f"broken {number}.jpg": images["00000.jpg"][:900] for number in range(5)}
    text = {"it's\n.jpg": b"not an image"}
    output.run(images, hour=1, state="failed")
    report = output.run({**images, **broken, **text}, unit_size=1)
    return report, [f"{output.photos}/{name}" for name in (*broken, *text)]


def require_lines_name_images(lines: list[str], output: Nights, uris: list[str]) -> None:
    """Check the lines of a summary about 6 failed images, with their columns of reasons and of images."""
    folder = f"{output.output}/failures/"
    assert lines[0].split() == ["6", "failures", *folder.split()]
    column = len(lines[0]) - len(folder)
    reasons = [line[:column].strip() for line in lines]
    assert reasons[1:] == ["5 decode: Truncated", "", "", "", "1 decode: NotAnImage"]
    *truncated, more, other = [line[column:] for line in lines[1:]]
    assert len(set(truncated)) == 3
    assert set(truncated) <= set(uris)
    assert (more, other) == ("and 2 more", f"{output.photos}/it's\\u000a.jpg")


def require_command_lists_images(command: str, folder: Path, uris: list[str]) -> None:
    """Run the command in a folder with a module that has the name of one of ours."""
    folder.mkdir()
    (folder / "transforms.py").write_text("raise SystemExit('imported the transforms.py of the user')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert sorted(row[0] for row in rows) == sorted(printable(uri) for uri in uris)
    assert {tuple(row[1:3]) for row in rows} == {("decode", "Truncated"), ("decode", "NotAnImage")}
    assert all(row[3] for row in rows)


@pytest.mark.parametrize("where", ["disk", "gs"])
def test_summary_names_failed_images_and_the_command_that_lists_all(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "it's here") if where == "disk" else request.getfixturevalue("bucket").uri("my data")
    output = Nights(f"{root}/out", f"{root}/photos")
    report, uris = write_failures(output)
    lines = run_report.summary(report, output.output).splitlines()
    start = next(index for index, line in enumerate(lines) if "6 failures" in line)
    require_lines_name_images(lines[start : start + 6], output, uris)
    label, _, command = lines[start + 6].partition(": ")
    assert label == "  list all failures of this run"
    require_command_lists_images(command, tmp_path / "user", uris)


def test_summary_reads_a_bounded_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Nights(str(tmp_path / "out"), str(tmp_path / "photos"))
    monkeypatch.setattr(publish, "FILE_ROWS", 1)  # each unit of one image becomes a published file
    report, _ = write_failures(output)
    monkeypatch.setattr(run_report, "_ROWS", 2)
    text = run_report.summary(report, output.output)
    assert text.count(".jpg") == 2
    assert "5 decode: Truncated" in text


def test_summary_without_examples_where_the_table_cannot_be_read(tmp_path: Path) -> None:
    output = Nights(str(tmp_path / "out"), str(tmp_path / "photos"))
    report, _ = write_failures(output)
    for path in (tmp_path / "out" / "failures").rglob("*.parquet"):
        path.write_bytes(b"damaged")
    lines = run_report.summary(report, output.output).splitlines()
    assert "    5 decode: Truncated" in lines
    assert "    1 decode: NotAnImage" in lines


def test_list_of_failures_of_an_unknown_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_failures.main([str(tmp_path), "r1"]) == 2
    assert "there is no run report" in capsys.readouterr().err
    assert list_failures.main([str(tmp_path)]) == 2
    assert "OUTPUT RUN_ID" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (18_420, "5 h 07 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("fault", ["empty", "short", "corrupt", "corrupt start", "cut"])
def test_a_report_that_arrives_damaged_is_read_again(bucket: Bucket, fault: str) -> None:
    stored = run(bucket.uri("out"))
    run_report.write(TALLY, stored)
    left = iter([fault])
    bucket.gcs.faults = lambda _, path: next(left, None) if "alt=media" in path else None
    assert run_report.read(stored)["state"] == "done"
    assert next(left, None) is None
    left = iter([fault])
    (read,), unreadable = runs.read_runs([stored.uri])
    assert (read.run_id, unreadable) == ("r1", [])
