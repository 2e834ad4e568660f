"""Killed, failing and repeated work: nothing is lost, nothing stands twice, no half file is ever seen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest
import tables

from runners import beam_options, cli, launch
from transforms import process
from transforms.imaging import drawn
from transforms.records import Unit

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
    killed = 0
    for _ in range(5):
        running = subprocess.Popen([sys.executable, "-m", "runners.cli", *arguments], stderr=subprocess.DEVNULL)
        before = len(tables.files_of(tmp_path / "out", "predictions"))
        while running.poll() is None and len(tables.files_of(tmp_path / "out", "predictions")) == before:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.05)
        running.send_signal(signal.SIGKILL)
        killed += running.wait() == -signal.SIGKILL
        for table in ("predictions", "embeddings", "failures"):
            whole = {
                name: data
                for name, data in tables.files_of(tmp_path / "out", table).items()
                if name.endswith(".parquet")
            }
            for name in whole:
                assert tables.pq.read_table(name, partitioning=None).num_rows > 0, f"seed {seed}"
    assert killed, "no run was still going when it was killed"
    assert cli.main(arguments) == cli.DONE
    for left in (tmp_path / "out").rglob("*.tmp"):
        left.unlink()  # of a file that was being written; its name is hidden, and no reader takes it for a table
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
    for number in range(300):  # seconds of work, so that both are there at once however they are started
        (images / f"more-{number}.png").write_bytes(b"no picture")
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    start = [sys.executable, "-m", "runners.cli", *arguments]
    both = [subprocess.Popen(start, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = {each.pid: each.communicate()[1] for each in both}
    (works,) = (each for each in both if each.returncode == cli.DONE)
    (waits,) = (each for each in both if each.returncode == cli.LOCKED)
    assert f"(process {works.pid}, beamsight run, run 2" in said[waits.pid]
    assert "works on it since" in said[waits.pid]
    for number in range(300):
        (images / f"more-{number}.png").unlink()
    found = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(found) == IMAGES - IMAGES // 10
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert not (tmp_path / "out" / "lock.json").exists()


def test_interrupted_from_the_keyboard_says_so_and_goes_on_later(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    more = 300  # seconds of work, at a unit each, so that the signal comes before the end
    for number in range(more):
        (images / f"more-{number}.png").write_bytes(drawn.encode(drawn.draw(number, 8, 8), "png"))
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    running = subprocess.Popen(
        [sys.executable, "-m", "runners.cli", *arguments], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while running.poll() is None and not tables.files_of(tmp_path / "out", "embeddings"):
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (
        cli.INTERRUPTED,
        "beamsight: interrupted; what was finished is kept, and the same command goes on from there\n",
    )
    assert cli.main(arguments) == cli.DONE
    found = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(found) == IMAGES - IMAGES // 10 + more


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
    assert launch.reason(RuntimeError("some words")) == "RuntimeError: some words"
    assert beam_options.workers(beam_options.parse(["--max_num_workers=7"])) == 7
