"""Killed, failing and repeated work: nothing is lost, nothing stands twice, no half file is ever seen."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest
import tables
from gcs_server import Bucket, GcsServer

from runners import beam_options, cleanup, cli, ending, lock
from transforms import process
from transforms.imaging import drawn
from transforms.records import Unit
from transforms.storage import files

IMAGES = 60


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(IMAGES):
        picture = drawn.encode(drawn.draw(number, 64, 64))
        (folder / f"{number:02}.jpg").write_bytes(picture[:300] if number % 10 == 0 else picture)
    return folder


def command(images: Path, classifier: str, embedder: str, *options: str) -> list[str]:
    out = str(images.parent / "out")
    models = ["--classifier", classifier, "--embedder", embedder]
    return ["run", "--images", str(images), "--output", out, *models, "--max-failures", "100%", *options]


SLOWLY = """
import time
from runners import cli, lock
from transforms.storage import files
write, hold = files.write, lock.hold
def slowly(uri, data):
    time.sleep(0.05)
    write(uri, data)
files.write = slowly
lock.hold = lambda *given, **named: hold(*given, renew={renew}, **named)
cli.entry()
"""


def start(arguments: list[str], renew: float = lock.RENEW) -> subprocess.Popen[str]:
    """The command in a process of its own, slowed down at each file it writes, so that it is met at work."""
    program = [sys.executable, "-c", SLOWLY.format(renew=renew), *arguments]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True)


def wait_for_files(running: subprocess.Popen[str], tmp_path: Path, number: int = 5) -> None:
    """Until there are so many files of predictions, of a run that has more to do."""
    folder = tmp_path / "out" / "predictions"
    while len(list(folder.rglob("*.parquet"))) < number:
        assert running.poll() is None, running.communicate()
        time.sleep(0.001)


def require_complete(tmp_path: Path) -> None:
    """Each table holds each image once; ``tables.rows`` refuses files that are not whole."""
    good = {f"{number:02}.jpg" for number in range(IMAGES) if number % 10}
    bad = {f"{number:02}.jpg" for number in range(IMAGES) if number % 10 == 0}
    for table, names in (("predictions", good), ("embeddings", good), ("failures", bad)):
        found = tables.by_uri(tables.rows(tmp_path / "out", table, tmp_path))
        assert {Path(uri).name for uri in found} == names, table


def test_killed_at_random_moments_and_run_again(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "2")
    for _ in range(5):
        before = len(list((tmp_path / "out" / "predictions").rglob("*.parquet")))
        running = start(arguments)
        wait_for_files(running, tmp_path, before + 1)
        time.sleep(moments.random() * 0.05)
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
        for table in ("predictions", "embeddings", "failures"):
            whole = {
                name: data
                for name, data in tables.files_of(tmp_path / "out", table).items()
                if name.endswith(".parquet")
            }
            for name in whole:
                assert tables.pq.read_table(name, partitioning=None).num_rows > 0, f"seed {seed}"
    assert cli.main(arguments) == cli.DONE
    assert not list((tmp_path / "out").rglob("*.tmp"))
    states = [report["state"] for report in reports(tmp_path)]
    assert states == ["failed"] * 5 + ["done"]
    require_complete(tmp_path)


def test_half_written_files_are_not_seen_by_readers(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    assert cli.main(command(images, tiny_classifier, tiny_embedder)) == cli.DONE
    (part,) = tables.files_of(tmp_path / "out", "predictions")
    (Path(part).parent / f".{Path(part).name}.123.tmp").write_bytes(Path(part).read_bytes()[:100])
    count = duckdb.sql(f"select count(*) from '{tmp_path}/out/predictions/**/*.parquet'").fetchall()
    assert count == [(IMAGES - IMAGES // 10,)]
    assert cli.main(command(images, tiny_classifier, tiny_embedder)) == cli.DONE


class _FailsNowAndThen(process.ProcessUnits):
    """Fails before or after the work on three of four first tries, as a worker that is lost does."""

    tries: ClassVar[dict[str, int]] = {}
    lock = threading.Lock()

    def process(self, unit: Unit) -> Any:
        with self.lock:
            first = self.tries.setdefault(unit.name, 0) == 0
            self.tries[unit.name] += 1
        kind = int(unit.name, 16) % 4
        if first and kind == 0:
            raise RuntimeError("lost before")
        done = list(super().process(unit))
        if first and kind in (1, 2):
            raise RuntimeError("lost after the files were written")
        return done


def test_bundles_that_fail_are_tried_again_without_a_trace(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.catalog.ProcessUnits", _FailsNowAndThen)
    # Each retry of this runner may meet another unit that fails: one image a unit would use the four tries up.
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "20", "--runner=BundleBasedDirectRunner")
    assert cli.main(arguments) == cli.DONE
    assert max(_FailsNowAndThen.tries.values()) > 1
    require_complete(tmp_path)


def test_bundles_that_are_repeated_leave_one_row_an_image(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    assert cli.main(command(images, tiny_classifier, tiny_embedder, "--direct_runner_bundle_repeat=1")) == cli.DONE
    require_complete(tmp_path)


def test_of_two_that_start_at_once_one_works_and_the_other_says_who(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    both = [start(arguments) for _ in range(2)]
    said = {each.pid: each.communicate()[1] for each in both}
    (works,) = (each for each in both if each.returncode == cli.DONE)
    (waits,) = (each for each in both if each.returncode == cli.LOCKED)
    assert f"(process {works.pid}, beamsight run, run 2" in said[waits.pid]
    assert "works on it since" in said[waits.pid]
    found = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(found) == IMAGES - IMAGES // 10
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert not (tmp_path / "out" / "lock.json").exists()


class _Hook(BaseHTTPRequestHandler):
    """Takes what is posted."""

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


def reports(tmp_path: Path) -> list[dict[str, Any]]:
    """The newest last."""
    found = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").iterdir()]
    return sorted(found, key=lambda report: report["started_at"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, cli.INTERRUPTED), (signal.SIGTERM, cli.TERMINATED)])
def test_a_signal_ends_it_with_a_report_and_it_goes_on_later(
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
        "beamsight: interrupted; what was finished is kept, and the same command goes on from there\n",
    )
    assert not (tmp_path / "out" / "lock.json").exists()
    (report,) = reports(tmp_path)
    assert (report["state"], report["error"]) == ("interrupted", f"interrupted by {signal.Signals(number).name}")
    rows = len(tables.rows(tmp_path / "out", "embeddings", tmp_path))
    failed = len(tables.rows(tmp_path / "out", "failures", tmp_path))
    (ok,) = (count for table, count in report["counts"]["ok"].items() if table.startswith("embeddings/"))
    assert 0 < ok <= rows <= ok + 1  # one that was being written then
    assert failed - 1 <= report["counts"]["failed"].get("decode", 0) <= failed
    assert report["counts"]["missing"] == IMAGES
    assert report["counts"]["images"] < IMAGES
    assert hook.got == [report]  # type: ignore[attr-defined]
    assert "s3cret" not in json.dumps(report)
    assert cli.main(arguments) == cli.DONE
    found = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(found) == IMAGES - IMAGES // 10
    assert [each["state"] for each in reports(tmp_path)] == ["interrupted", "done"]


def test_a_signal_does_not_wait_for_images_that_do_not_come(
    gcs: GcsServer, bucket: Bucket, tmp_path: Path, tiny_classifier: str
) -> None:
    for number in range(8):
        bucket.put(f"in/{number}.jpg", b"never sent")
    gcs.faults = lambda _, path: time.sleep(30) if "alt=media" in path else None  # type: ignore[func-returns-value]
    arguments = ["run", "--images", bucket.uri("in/*.jpg"), "--output", str(tmp_path / "out")]
    arguments += ["--classifier", tiny_classifier, "--embedder", "none"]
    with subprocess.Popen([sys.executable, "-m", "runners.cli", *arguments], stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not gcs.media():
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == cli.TERMINATED
    (report,) = reports(tmp_path)
    assert (report["state"], report["counts"]["missing"], report["counts"]["images"]) == ("interrupted", 8, 0)


def test_what_a_killed_run_left_is_put_in_order_by_the_next(
    images: Path, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "1")
    running = start(arguments)
    wait_for_files(running, tmp_path)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "lock.json").exists()
    (dead,) = reports(tmp_path)
    assert dead["state"] == "running"
    kept = tables.rows(tmp_path / "out", "predictions", tmp_path) if not list((tmp_path / "out").rglob("*.tmp")) else []
    (tmp_path / "out" / "failures").mkdir(exist_ok=True)
    (tmp_path / "out" / "failures" / ".1-0123456789abcdef.tmp").write_bytes(b"PAR1")
    time.sleep(0.05)
    if not sys.platform.startswith("linux"):
        (tmp_path / "out" / "lock.json").unlink()  # elsewhere it counts for ten minutes more
    assert cli.main(arguments) == cli.DONE
    said = capsys.readouterr().err
    if sys.platform.startswith("linux"):
        assert (
            f"(process {running.pid}, beamsight run, run {dead['run_id']}), which has ended without letting go" in said
        )
    assert "half-written file" in said
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not (tmp_path / "out" / "lock.json").exists()
    killed, done = reports(tmp_path)
    assert (killed["run_id"], killed["state"], killed["error"]) == (dead["run_id"], "failed", cleanup.KILLED)
    assert done["state"] == "done"
    rows = tables.rows(tmp_path / "out", "predictions", tmp_path)
    assert all(row in rows for row in kept)
    assert done["counts"]["already_done"] + done["counts"]["failed_before"] > 0
    assert len(tables.by_uri(rows)) == IMAGES - IMAGES // 10


def test_a_lock_that_another_takes_ends_the_run(images: Path, tmp_path: Path, tiny_classifier: str) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "1")
    running = start(arguments, renew=0.05)
    wait_for_files(running, tmp_path)
    uri, taken = str(tmp_path / "out" / "lock.json"), None
    while taken is None:  # as another would, between two signs of life
        taken = files.write_if(
            uri, b'{"token": "x", "user": "other@elsewhere", "run_id": "r9"}', files.read(uri)[1].version
        )
    _, said = running.communicate(timeout=60)
    assert running.returncode == cli.RUN_FAILED
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
    expected = IMAGES + (code == cli.TOO_FEW_IMAGES)
    arguments = command(images, tiny_classifier, "none", "--expect-at-least", str(expected), *options)
    assert cli.main([*arguments, "--on-finish", f"http://127.0.0.1:{hook.server_port}/s3cret"]) == code
    said = capsys.readouterr().err
    assert ("60 images were listed, fewer than the 61 of --expect-at-least" in said) is (code == cli.TOO_FEW_IMAGES)
    assert ("6 of 60 images failed, more than --max-failures" in said) is (code != cli.DONE)
    (report,) = reports(tmp_path)
    kinds = {0: [], 1: ["too many failures"], 5: ["too few images", "too many failures"]}
    assert [problem["kind"] for problem in report["problems"]] == kinds[code]
    assert (report["state"], report["options"]["expect_at_least"]) == ("done", expected)
    assert report["options"]["on_finish"] == f"http://127.0.0.1:{hook.server_port}/..."
    assert hook.got == [report]  # type: ignore[attr-defined]


def test_a_run_that_stops_says_why_in_its_report(
    images: Path, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "10")
    assert cli.main(arguments) == cli.DONE
    part = Path(next(iter(tables.files_of(tmp_path / "out", "predictions"))))
    part.write_bytes(part.read_bytes()[:-20])
    assert cli.main(arguments) == cli.RUN_FAILED
    assert f"{part} cannot be read as a part of the table" in capsys.readouterr().err
    states = sorted(path.read_text().split('"state": "')[1].split('"')[0] for path in (tmp_path / "out/runs").iterdir())
    assert states == ["done", "failed"]
    assert ending.reason(RuntimeError("some words")) == "RuntimeError: some words"
    assert beam_options.workers(beam_options.parse(["--max_num_workers=7"])) == 7
