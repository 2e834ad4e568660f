"""Interrupted runs, lost locks and failed runs: the report has the reason, and the next run continues."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import long_runs
import pytest
import tables
from gcs_server import Bucket, GcsServer
from long_runs import IMAGES, command, reports, start, wait_for_files
from started import Running

from runners.cli import app, codes
from runners.jobs import beam_options, ending
from transforms.storage import files


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return long_runs.fill(tmp_path / "in")


class _Hook(BaseHTTPRequestHandler):
    """Stores every posted report."""

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.got = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def require_counts_agree_with_tables(counts: dict[str, Any], tmp_path: Path) -> None:
    """Check the counts of an interrupted run, which publishes nothing. A unit, of one image, may be in progress."""
    assert not tables.files_of(tmp_path / "out", "embeddings")
    rows = len(tables.units_of(tmp_path / "out", "embeddings"))
    failures = len(tables.units_of(tmp_path / "out", "failures"))
    (ok,) = (count for table, count in counts["ok"].items() if table.startswith("embeddings/"))
    assert 0 < ok <= rows <= ok + 1
    assert failures - 1 <= counts["failed"].get("decode", 0) <= failures
    assert counts["images"] < counts["missing"] == IMAGES


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, codes.INTERRUPTED), (signal.SIGTERM, codes.TERMINATED)])
def test_a_signal_stops_the_run_and_the_next_run_continues(
    number: int,
    code: int,
    hook: ThreadingHTTPServer,
    images: Path,
    tmp_path: Path,
    tiny_classifier: str,
    tiny_embedder: str,
) -> None:
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    arguments += ["--on-finish", f"http://127.0.0.1:{hook.server_port}/s3cret"]
    running = start(arguments)
    wait_for_files(running, tmp_path)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (
        code,
        "beamsight: interrupted; finished images are kept, and the same command continues from there\n",
    )
    assert not (tmp_path / "out" / "lock.json").exists()
    (report,) = reports(tmp_path)
    assert (report["state"], report["error"]) == ("interrupted", f"interrupted by {signal.Signals(number).name}")
    require_counts_agree_with_tables(report["counts"], tmp_path)
    assert hook.got == [report]  # type: ignore[attr-defined]
    assert "s3cret" not in json.dumps(report)

    assert app.main(arguments) == codes.DONE
    rows_by_uri = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(rows_by_uri) == IMAGES - IMAGES // 10
    assert not tables.units_of(tmp_path / "out", "*")
    assert [each["state"] for each in reports(tmp_path)] == ["interrupted", "done"]


def test_a_signal_does_not_wait_for_slow_downloads(
    gcs: GcsServer, bucket: Bucket, tmp_path: Path, tiny_classifier: str
) -> None:
    for number in range(8):
        bucket.put(f"in/{number}.jpg", b"never sent")
    gcs.faults = lambda _, path: time.sleep(30) if "alt=media" in path else None
    arguments = ["run", "--images", bucket.uri("in/*.jpg"), "--output", str(tmp_path / "out")]
    arguments += ["--classifier", tiny_classifier, "--embedder", "none"]
    running = Running(arguments)
    while running.poll() is None and not gcs.media():
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    try:
        assert running.wait(20) == codes.TERMINATED
    finally:
        running.kill()
    (report,) = reports(tmp_path)
    assert (report["state"], report["counts"]["missing"], report["counts"]["images"]) == ("interrupted", 8, 0)


def test_a_signal_does_not_wait_for_a_storage_that_is_down(
    gcs: GcsServer, bucket: Bucket, images: Path, tiny_classifier: str, hook: ThreadingHTTPServer
) -> None:
    """The report and the release of the lock would each be retried for two minutes. Containers get 30 seconds."""
    is_over = threading.Event()
    arguments = ["run", "--images", str(images), "--output", bucket.uri("out"), "--unit-size", "1"]
    arguments += ["--classifier", tiny_classifier, "--embedder", "none"]
    arguments += ["--on-finish", f"http://127.0.0.1:{hook.server_port}/"]
    running = Running(arguments)
    while not any("/predictions/" in name for name in bucket.names()):
        assert running.poll() is None
        time.sleep(0.01)
    gcs.faults = lambda *_: 503 if is_over.wait(120) else None
    try:
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == codes.TERMINATED
    finally:
        running.kill()
        is_over.set()
    assert [report["state"] for report in hook.got] == ["interrupted"]  # type: ignore[attr-defined]
    assert "out/lock.json" in bucket.names()  # it expires


def test_losing_the_lock_stops_the_run(images: Path, tmp_path: Path, tiny_classifier: str) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "1")
    running = start(arguments, heartbeat=0.05)
    wait_for_files(running, tmp_path)
    uri, taken = str(tmp_path / "out" / "lock.json"), None
    while taken is None:  # as another run would, between two heartbeats
        taken = files.write_if(
            uri, b'{"token": "x", "user": "other@elsewhere", "run_id": "r9"}', files.read(uri)[1].version
        )
    _, said = running.communicate(timeout=60)
    assert running.returncode == codes.RUN_FAILED
    assert f"the run failed: the lock {tmp_path}/out/lock.json was taken over by other@elsewhere (run r9)" in said
    (report,) = reports(tmp_path)
    assert (report["state"], "taken over by other@elsewhere" in report["error"]) == ("failed", True)
    assert "other@elsewhere" in (tmp_path / "out" / "lock.json").read_text()


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--max-failures", "1"), 1), (("--max-failures", "0"), 5)])
def test_fewer_images_than_expected(
    options: tuple[str, ...],
    code: int,
    images: Path,
    tmp_path: Path,
    tiny_classifier: str,
    hook: ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = IMAGES + (code == codes.TOO_FEW_IMAGES)
    arguments = command(images, tiny_classifier, "none", "--expect-at-least", str(expected), *options)
    assert app.main([*arguments, "--on-finish", f"http://127.0.0.1:{hook.server_port}/s3cret"]) == code
    said = capsys.readouterr().err
    assert ("the sources list 60 images, fewer than --expect-at-least 61" in said) is (code == codes.TOO_FEW_IMAGES)
    assert ("6 of 60 images failed, more than --max-failures" in said) is (code != codes.DONE)
    (report,) = reports(tmp_path)
    kinds = {0: [], 1: ["too many failures"], 5: ["too few images", "too many failures"]}
    assert [problem["kind"] for problem in report["problems"]] == kinds[code]
    assert (report["state"], report["options"]["expect_at_least"]) == ("done", expected)
    assert report["options"]["on_finish"] == f"http://127.0.0.1:{hook.server_port}/..."
    assert hook.got == [report]  # type: ignore[attr-defined]


def test_the_report_of_a_failed_run_has_the_reason(
    images: Path, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "10")
    assert app.main(arguments) == codes.DONE
    (part,) = (Path(name) for name in tables.files_of(tmp_path / "out", "predictions"))
    part.write_bytes(part.read_bytes()[:-20])
    shutil.rmtree(tmp_path / "out" / "_work" / "index")  # so it is made again from the tables
    assert app.main(arguments) == codes.RUN_FAILED
    assert f"{part} cannot be read as a part of the table" in capsys.readouterr().err
    states = sorted(path.read_text().split('"state": "')[1].split('"')[0] for path in (tmp_path / "out/runs").iterdir())
    assert states == ["done", "failed"]
    assert ending.reason(RuntimeError("some words")) == "RuntimeError: some words"
    assert beam_options.workers(beam_options.parse(["--max_num_workers=7"])) == 7
