"""Runs over sixty images that take their time, to be killed, interrupted and started twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tables

from runners.lock import lock
from transforms.imaging import drawn

IMAGES = 60


def fill(folder: Path) -> Path:
    """Sixty images, of which each tenth is broken -> their folder."""
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
import pathlib, time
from runners.cli import app
from runners.lock import lock
rename, hold = pathlib.Path.replace, lock.hold
def slowly(path, target):
    time.sleep(0.05)
    return rename(path, target)
pathlib.Path.replace = slowly
lock.hold = lambda *given, **named: hold(*given, heartbeat={heartbeat}, **named)
app.entry()
"""


def start(arguments: list[str], heartbeat: float = lock.HEARTBEAT_SECONDS) -> subprocess.Popen[str]:
    """The command in a process of its own, met at work: each file it writes lies a moment beside its place."""
    program = [sys.executable, "-c", SLOWLY.format(heartbeat=heartbeat), *arguments]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True)


def wait_for_files(running: subprocess.Popen[str], tmp_path: Path, number: int = 5) -> None:
    """Until there are so many finished units of predictions, of a run that has more to do."""
    while len(tables.units_of(tmp_path / "out", "predictions")) < number:
        assert running.poll() is None, running.communicate()
        time.sleep(0.001)


def require_complete(tmp_path: Path) -> None:
    """Each table holds each image once; ``tables.rows`` refuses files that are not whole."""
    good = {f"{number:02}.jpg" for number in range(IMAGES) if number % 10}
    bad = {f"{number:02}.jpg" for number in range(IMAGES) if number % 10 == 0}
    for table, names in (("predictions", good), ("embeddings", good), ("failures", bad)):
        found = tables.by_uri(tables.rows(tmp_path / "out", table, tmp_path))
        assert {Path(uri).name for uri in found} == names, table


def reports(tmp_path: Path) -> list[dict[str, Any]]:
    """The newest last."""
    found = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").iterdir()]
    return sorted(found, key=lambda report: report["started_at"])
