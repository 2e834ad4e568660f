"""The job on Prism with its worker outside: it ends with the worker, and the same command continues from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
import tables
import worker_pools
from gcs_server import Bucket, GcsServer

from runners.cli import codes


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that lead to Prism, which is built where it is not there. Go keeps what it is built of."""
    found = shutil.which("prism") or shutil.which("prism", path=Path.home() / "go" / "bin")
    if found is None:
        go = shutil.which("go")
        if go is None:
            pytest.skip("no prism on the path, and no go to build it with")
        folder = tmp_path_factory.mktemp("prism")
        module = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{metadata.version('apache-beam')}"
        environment = os.environ | {"GOBIN": str(folder)}
        done = subprocess.run([go, "install", module], env=environment, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{module} cannot be built: {done.stderr.strip()[-300:]}")
        found = str(folder / "prism")
    return ["--runner=PrismRunner", f"--prism_location={found}"]


def test_a_job_on_prism_loses_its_worker_and_the_next_one_does_the_rest(
    prism: list[str], gcs: GcsServer, bucket: Bucket, trained: Mapping[str, str], tmp_path: Path
) -> None:
    command = worker_pools.fill(bucket, trained)
    with worker_pools.worker_pool(tmp_path) as (workers, pool):
        beamsight = [sys.executable, "-m", "beamsight", *command, "--output", bucket.uri("out"), *prism, *workers]
        gcs.delay = 0.02  # seconds an answer, so that the worker is killed before the end
        with worker_pools.started(beamsight, tmp_path / "run.log") as running:
            worker_pools.wait_for("units", lambda: len(tables.units_of(bucket, "predictions")) >= 4, running)
            worker_pools.kill_a_worker(pool)
            assert running.process.wait(timeout=120) == codes.RUN_FAILED, running.said()
        gcs.delay = 0
        engine, why, remedy = running.said().splitlines()
        assert "runs on PrismRunner" in engine
        assert why.startswith("beamsight: the run failed: ")
        assert "continues from there" in remedy
        first = len(tables.units_of(bucket, "predictions"))
        assert 4 <= first < worker_pools.IMAGES // worker_pools.UNIT_SIZE - 4, "nearly all was done before the kill"
        with worker_pools.started(beamsight, tmp_path / "run.log") as running:
            assert running.process.wait(timeout=120) == codes.DONE, running.said()
        assert not tables.units_of(bucket, "predictions")
    worker_pools.require_same_as_here(gcs, bucket, command, tmp_path)
