"""Files and reports that killed runs left are cleaned up, and all other files stay."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from gcs_server import Bucket

from beamsight.reports import run_report
from runners.lock import cleanup
from transforms.storage import files
from transforms.storage.base import FileSystem

NOW = datetime.now(timezone.utc)
INCOMPLETE = ".123-0123456789abcdef.tmp"
OTHERS = (
    "predictions/model=m/dt=2026-01-01/u.parquet",
    "predictions/model=m/dt=2026-01-01/.hidden",
    "predictions/model=m/dt=2026-01-01/.1-x.tmp",
    "runs/r.json",
    "reports/x.html",
    "mine/.123-0123456789abcdef.tmp",
    "mine.tmp",
)


def put(path: Path, minutes_ago: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1")
    when = (NOW - timedelta(minutes=minutes_ago)).timestamp()
    os.utime(path, (when, when))
    return path


def test_removes_old_incomplete_files(tmp_path: Path) -> None:
    live = [put(tmp_path / name, 600) for name in OTHERS]
    old = [
        put(tmp_path / folder / INCOMPLETE, 11)
        for folder in ("", "predictions/model=m/dt=2026-01-01", "embeddings/model=n", "failures", "runs", "reports")
    ]
    old.append(put(tmp_path / "lock-clock-0123456789abcdef.tmp", 11))
    young = [
        put(tmp_path / "failures" / ".9-0123456789abcdef.tmp", 9),
        put(tmp_path / "runs" / INCOMPLETE.replace("3", "4"), 9),
    ]
    stream = io.StringIO()
    cleanup.clean(str(tmp_path), NOW - timedelta(minutes=10), stream)
    assert [path for path in old if path.exists()] == []
    assert all(path.exists() for path in (*live, *young))
    assert stream.getvalue() == "beamsight: removed 7 incomplete files of killed runs\n"


def test_removes_only_old_probe_files_in_a_bucket(bucket: Bucket) -> None:
    names = [f"out/{name}" for name in (*OTHERS, INCOMPLETE, f"predictions/{INCOMPLETE}")]
    for name in (*names, "out/lock-clock-0123456789abcdef.tmp", "out/.writable-01234567"):
        bucket.put(name, b"x")
    cleanup.clean(bucket.uri("out"), NOW - timedelta(minutes=10), io.StringIO())
    assert len(bucket.names()) == len(names) + 2
    cleanup.clean(bucket.uri("out"), datetime.now(timezone.utc) + timedelta(minutes=1), io.StringIO())
    assert bucket.names() == sorted(names)


def test_reports_files_that_cannot_be_removed(bucket: Bucket, quick_retries: FileSystem) -> None:
    bucket.gcs.faults = lambda *_: 503
    stream = io.StringIO()
    cleanup.clean(bucket.uri("out"), NOW, stream)
    assert stream.getvalue().startswith("beamsight: could not remove all incomplete files of killed runs: gs://")


@pytest.mark.parametrize("where", ["disk", "gs"])
def test_marks_reports_of_killed_runs_as_failed(where: str, tmp_path: Path, bucket: Bucket) -> None:
    output = str(tmp_path) if where == "disk" else bucket.uri("out")
    for name, state in (("r1", "running"), ("r2", "done"), ("r3", "queued"), ("r4", "running")):
        run = run_report.Run(name, output, NOW, {"images": ["ä"]}, {})
        run_report.write(Counter(), run, state)  # type: ignore[arg-type]
    files.write(f"{output}/runs/notes.json", b"[]")
    files.write(f"{output}/runs/broken.json", b"{")
    assert cleanup.close_killed(output, "r4") == ["r1", "r3"]
    found = {name: json.loads(files.read(f"{output}/runs/{name}.json")[0]) for name in ("r1", "r2", "r3", "r4")}
    assert [(found[name]["state"], found[name]["error"]) for name in found] == [
        ("failed", cleanup.KILLED),
        ("done", None),
        ("failed", cleanup.KILLED),
        ("running", None),
    ]
    assert found["r1"]["options"] == {"images": ["ä"]}
    assert cleanup.close_killed(output, "r4") == []
