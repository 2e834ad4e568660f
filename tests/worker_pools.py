"""Workers in processes of their own, for engines that run in another process too, and what tests of these share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import tables
from gcs_server import Bucket, GcsServer

from runners.cli import app, codes
from transforms.imaging import drawn

ROOT = Path(__file__).parents[1]
IMAGES = 200
BROKEN = 3  # of them
UNIT_SIZE = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], bool], running: Running, seconds: float = 240) -> None:
    """Until ``ready``, while a process runs."""
    ends = time.monotonic() + seconds
    while not ready():
        assert running.process.poll() is None, f"{what}: the process has ended, {running.said()}"
        assert time.monotonic() < ends, f"{what} took more than {seconds} s: {running.said()}"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


@dataclass(frozen=True)
class Running:
    """A process, and the file that has what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def started(command: Sequence[str | Path], log: Path, **environment: str) -> Iterator[Running]:
    """A process, and all that it has started, for as long as the block lasts."""
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=out, env=os.environ | environment
        )
        try:
            yield Running(process, log)
        finally:
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    each.kill()
            process.wait()


@contextmanager
def worker_pool(scratch: Path) -> Iterator[tuple[list[str], psutil.Process]]:
    """Beam's worker pool -> the options that have a job run in it, and the process whose children its workers are."""
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the pool starts what is called `python`
    command = (sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}")
    with started(command, scratch / "pool.log", PATH=path) as running:
        wait_for("the worker pool", lambda: listens(port), running)
        options = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
        yield options, psutil.Process(running.process.pid)


def kill_a_worker(pool: psutil.Process) -> int:
    """SIGKILL to the worker that has done most -> its process id."""
    busiest = max(pool.children(), key=lambda worker: worker.cpu_times().user)
    busiest.send_signal(signal.SIGKILL)
    return busiest.pid


def fill(bucket: Bucket, models: Mapping[str, str]) -> list[str]:
    """Pictures, some of them broken, and bundles into a bucket -> the command that does them, but for its output."""
    for number in range(IMAGES):
        picture = drawn.encode(drawn.draw(number, 64, 64))
        bucket.put(f"in/{number:03}.jpg", picture[:300] if number < BROKEN else picture)
    command = ["run", "--images", bucket.uri("in"), "--unit-size", str(UNIT_SIZE)]
    for option, form in (("--classifier", "classification"), ("--embedder", "feature_vector")):
        for path in Path(models[form]).rglob("*"):
            if path.is_file():
                bucket.put(f"models/{form}/{path.relative_to(models[form])}", path.read_bytes())
        command += [option, bucket.uri(f"models/{form}")]
    return command


def require_same_as_here(gcs: GcsServer, bucket: Bucket, command: Sequence[str], scratch: Path) -> None:
    """The same command in this process must leave the same rows in another bucket."""
    here = Bucket.made(gcs, f"{bucket.name}-here")
    assert app.main([*command, "--output", here.uri("out")]) == codes.DONE
    for table, count in (("predictions", IMAGES - BROKEN), ("embeddings", IMAGES - BROKEN), ("failures", BROKEN)):
        rows = [tables.by_uri(tables.rows(each, table, scratch)) for each in (here, bucket)]
        for row in [*rows[0].values(), *rows[1].values()]:
            row.pop("run_id", None)
            row.pop("failed_at", None)
        assert rows[0] == rows[1], table
        assert len(rows[1]) == count, table
