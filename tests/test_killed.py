"""Killed, failing and repeated work: no row is lost or duplicated, and readers see no incomplete file."""

from __future__ import annotations

import itertools
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import long_runs
import pyarrow.parquet as pq
import pytest
import tables
from long_runs import IMAGES, command, reports, require_complete, start, wait_for_files

from pipelines import processing
from runners.cli import app, codes
from runners.lock import cleanup
from transforms.records import ShardTask, Unit
from transforms.tables import publish


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return long_runs.fill(tmp_path / "in")


def test_readers_do_not_see_incomplete_files(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    assert app.main(command(images, tiny_classifier, tiny_embedder)) == codes.DONE
    (part,) = tables.files_of(tmp_path / "out", "predictions")
    (Path(part).parent / f".{Path(part).name}.123.tmp").write_bytes(Path(part).read_bytes()[:100])
    count = duckdb.execute(f"select count(*) from '{tmp_path}/out/predictions/**/*.parquet'").fetchall()
    assert count == [(IMAGES - IMAGES // 10,)]
    assert app.main(command(images, tiny_classifier, tiny_embedder)) == codes.DONE


class _LosesTwo(processing.ProcessUnits):
    """Fails once before the work on the first unit, and once after that on the second, as lost workers do."""

    tries: ClassVar[dict[str, int]] = {}
    lock = threading.Lock()

    def process(self, work: Unit | ShardTask) -> Any:
        assert isinstance(work, Unit)
        with self.lock:
            self.tries[work.name] = self.tries.get(work.name, 0) + 1
            first, place = self.tries[work.name] == 1, list(self.tries).index(work.name)
        if first and place == 0:
            raise RuntimeError("lost before")
        done = list(super().process(work))
        if first and place == 1:
            raise RuntimeError("lost after the files were written")
        return done


def test_failed_bundles_are_retried(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.catalog.ProcessUnits", _LosesTwo)
    calls = itertools.count()

    def lose_two(*given: Any) -> publish.Published:
        """Fail before the first table is published, and after the second."""
        call = next(calls)
        if call == 0:
            raise RuntimeError("lost before")
        done = publish_one(*given)
        if call == 2:
            raise RuntimeError("lost after the table was published")
        return done

    publish_one = publish.publish
    monkeypatch.setattr(publish, "publish", lose_two)
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "20", "--runner=BundleBasedDirectRunner")
    assert app.main(arguments) == codes.DONE
    assert min(list(_LosesTwo.tries.values())[:2]) > 1
    assert len(_LosesTwo.tries) > 1
    assert next(calls) > 4
    require_complete(tmp_path)


def test_repeated_bundles_leave_one_row_per_image(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    assert app.main(command(images, tiny_classifier, tiny_embedder, "--direct_runner_bundle_repeat=1")) == codes.DONE
    require_complete(tmp_path)


def test_one_of_two_simultaneous_runs_works_and_the_other_names_it(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    both = [start(arguments) for _ in range(2)]
    said = {each.pid: each.communicate()[1] for each in both}
    (works,) = (each for each in both if each.returncode == codes.DONE)
    (waits,) = (each for each in both if each.returncode == codes.LOCKED)
    assert f"(process {works.pid}, beamsight run, run 2" in said[waits.pid]
    assert "the output has been locked by" in said[waits.pid]
    found = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert len(found) == IMAGES - IMAGES // 10
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert not (tmp_path / "out" / "lock.json").exists()


def test_two_runs_that_overlap_leave_each_row_once(
    images: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    arguments = command(images, tiny_classifier, tiny_embedder, "--unit-size", "1")
    first = start(arguments)  # its next heartbeat comes too late to notice anything
    wait_for_files(first, tmp_path)
    (tmp_path / "out" / "lock.json").unlink()
    second = start(command(images, tiny_classifier, tiny_embedder, "--unit-size", "7"))
    said = [each.communicate(timeout=240)[1] for each in (first, second)]
    assert (first.returncode, second.returncode) == (codes.RUN_FAILED, codes.DONE), said
    assert re.search("lost the lock|the lock .* was taken over", said[0])  # between two files, or by a heartbeat
    require_complete(tmp_path)
    assert app.main(arguments) == codes.DONE  # publishes what the first one left
    assert not tables.units_of(tmp_path / "out", "*")
    require_complete(tmp_path)


def kill_a_run(arguments: list[str], tmp_path: Path) -> tuple[int, dict[str, Any]]:
    """Kill a run that has written files; return its process id and its report."""
    running = start(arguments)
    wait_for_files(running, tmp_path)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "lock.json").exists()
    (report,) = reports(tmp_path)
    assert report["state"] == "running"
    return running.pid, report


def rows_of_units(tmp_path: Path) -> tables.Rows:
    complete = tables.units_of(tmp_path / "out", "predictions")
    return [row for path in complete for row in pq.ParquetFile(path).read().to_pylist()]


def require_messages(errors: str, pid: int, run_id: str) -> None:
    if sys.platform.startswith("linux"):
        assert f"(process {pid}, beamsight run, run {run_id}), which ended without releasing" in errors
    assert "incomplete file" in errors


def require_no_leftovers(output: Path) -> None:
    assert not list(output.rglob("*.tmp"))
    assert not (output / "lock.json").exists()


def require_reports_of_both(tmp_path: Path, killed_run_id: str) -> None:
    killed, done = reports(tmp_path)
    assert (killed["run_id"], killed["state"], killed["error"]) == (killed_run_id, "failed", cleanup.KILLED)
    assert done["state"] == "done"
    assert done["counts"]["already_done"] + done["counts"]["failed_before"] > 0


def test_the_next_run_cleans_up_after_a_killed_one(
    images: Path, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(images, tiny_classifier, "none", "--unit-size", "1")
    pid, report = kill_a_run(arguments, tmp_path)
    kept = rows_of_units(tmp_path)
    assert len(kept) >= 5
    (tmp_path / "out" / "failures").mkdir(exist_ok=True)
    (tmp_path / "out" / "failures" / ".1-0123456789abcdef.tmp").write_bytes(b"PAR1")
    time.sleep(0.05)
    if not sys.platform.startswith("linux"):
        (tmp_path / "out" / "lock.json").unlink()  # on other systems the lock expires after 10 minutes

    assert app.main(arguments) == codes.DONE
    require_messages(capsys.readouterr().err, pid, report["run_id"])
    require_no_leftovers(tmp_path / "out")
    require_reports_of_both(tmp_path, report["run_id"])
    rows = tables.rows(tmp_path / "out", "predictions", tmp_path)
    assert all(row in rows for row in kept)
    assert len(tables.by_uri(rows)) == IMAGES - IMAGES // 10
