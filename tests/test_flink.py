"""The job on Flink: a job server, a cluster of its own, and workers outside both, with one killed on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tables
import worker_pools
from gcs_server import Bucket, GcsServer
from worker_pools import ROOT

from runners.cli import codes

EXAMPLE = ROOT / "examples" / "flink"
# What Flink's own start scripts give a JVM newer than 11.
OPENS = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "net", "nio", "util", "util.concurrent")]


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of jars: Beam's job server, Flink, and what they need. Maven keeps them for the next time."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the path, which Flink's job server needs")
    folder = tmp_path_factory.mktemp("jars")
    copy = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    done = subprocess.run(["mvn", "-q", "-B", "-f", EXAMPLE / "pom.xml", *copy], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the job server's jars cannot be had from Maven Central: {done.stdout.strip()[:300]}")
    return folder


@dataclass(frozen=True)
class Flink:
    """The options that lead to a cluster and its job server, and the address of the cluster's REST API."""

    options: list[str]
    rest: str

    def ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://{self.rest}/{what}") as answer:
            return json.load(answer)

    def slots(self) -> int:
        try:
            return int(self.ask("overview")["slots-total"])
        except OSError:  # it has only just been started
            return 0

    def states(self) -> list[str]:
        """Those of all jobs, the last one first."""
        jobs = sorted(self.ask("jobs/overview")["jobs"], key=lambda job: int(job["start-time"]))
        return [job["state"] for job in reversed(jobs)]


@pytest.fixture(scope="module")
def flink(jars: Path, gcs: GcsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    """A cluster of one task manager with two slots, and the job server."""
    folder = tmp_path_factory.mktemp("flink")
    rest, rpc, job = (worker_pools.free_port() for _ in range(3))
    text = (EXAMPLE / "config.yaml").read_text(encoding="utf-8")
    text = text.replace("rest.port: 8081", f"rest.port: {rest}").replace("rpc.port: 6123", f"rpc.port: {rpc}")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    java = ["java", "-Xmx512m", *OPENS, "-cp", f"{jars}/*"]
    at = ["--configDir", str(folder)]
    manager = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    tasks = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
    server = ["org.apache.beam.runners.flink.FlinkJobServerDriver", f"--flink-master=localhost:{rest}"]
    ports = [f"--job-port={job}", "--artifact-port=0", "--expansion-port=-1", f"--artifacts-dir={folder}/staged"]
    options = ["--runner=FlinkRunner", f"--flink_master=localhost:{rest}", f"--job_endpoint=localhost:{job}"]
    cluster = Flink([*options, "--parallelism=2", "--sdk_worker_parallelism=2"], f"localhost:{rest}")
    with ExitStack() as stack:
        for number, command in enumerate(([manager, *at], [tasks, *at], [*server, *ports])):
            log = folder / f"java-{number}.log"
            running = stack.enter_context(worker_pools.started([*java, *command], log, FLINK_CONF_DIR=str(folder)))
        worker_pools.wait_for("the job server", lambda: worker_pools.listens(job), running)
        worker_pools.wait_for("the task manager", lambda: cluster.slots() == 2, running)
        yield cluster


def job(command: list[str], flink: Flink, workers: list[str], bucket: Bucket) -> list[str]:
    """The command that runs it on Flink."""
    here = [sys.executable, "-m", "beamsight"]
    return [*here, *command, "--output", bucket.uri("out"), *flink.options, *workers]


def test_a_job_on_flink_loses_a_worker_and_ends_with_the_rows_of_a_local_run(
    flink: Flink, gcs: GcsServer, bucket: Bucket, trained: Mapping[str, str], tmp_path: Path
) -> None:
    command = worker_pools.fill(bucket, trained)
    with worker_pools.worker_pool(tmp_path) as (workers, pool):
        gcs.delay = 0.02  # seconds an answer, so that the worker is killed before the end
        with worker_pools.started(job(command, flink, workers, bucket), tmp_path / "run.log") as running:
            worker_pools.wait_for("units", lambda: len(tables.units_of(bucket, "predictions")) >= 4, running)
            before = {worker.pid for worker in pool.children()}
            killed = worker_pools.kill_a_worker(pool)
            done_before = len(tables.units_of(bucket, "predictions"))
            worker_pools.wait_for("a new worker", lambda: bool({w.pid for w in pool.children()} - before), running)
            code = running.process.wait(timeout=300)
        gcs.delay = 0
    assert code == codes.DONE, running.said()
    assert " runs on Flink at localhost:" in running.said()
    assert len(before) >= 2
    assert killed in before
    assert done_before < worker_pools.IMAGES // worker_pools.UNIT_SIZE - 4, "nearly all was done before the kill"
    worker_pools.require_same_as_here(gcs, bucket, command, tmp_path)


def test_an_interrupted_job_is_cancelled_on_flink(
    flink: Flink, gcs: GcsServer, bucket: Bucket, trained: Mapping[str, str], tmp_path: Path
) -> None:
    command = worker_pools.fill(bucket, trained)
    with worker_pools.worker_pool(tmp_path) as (workers, _):
        gcs.delay = 0.05
        with worker_pools.started(job(command, flink, workers, bucket), tmp_path / "run.log") as running:
            worker_pools.wait_for("units", lambda: len(tables.units_of(bucket, "predictions")) >= 1, running)
            assert flink.states()[0] == "RUNNING"
            running.process.send_signal(signal.SIGINT)
            code = running.process.wait(timeout=240)
        gcs.delay = 0
        assert code == codes.INTERRUPTED, running.said()
        ends = time.monotonic() + 30
        while flink.states()[0] != "CANCELED":
            assert time.monotonic() < ends, flink.states()
            time.sleep(0.1)
