"""Runs over sixty images that take their time, to be killed, interrupted and started twice."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import tables
from started import Running

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


def _work_slowly(heartbeat: float) -> None:
    rename, hold = Path.replace, lock.hold

    def slowly(path: Path, target: Path) -> Path:
        time.sleep(0.05)
        return rename(path, target)

    Path.replace = slowly  # type: ignore[assignment,method-assign]
    lock.hold = partial(hold, heartbeat=heartbeat)


def start(arguments: list[str], heartbeat: float = lock.HEARTBEAT_SECONDS) -> Running:
    """The command in a process of its own, met at work: each file it writes lies a moment beside its place."""
    return Running(arguments, partial(_work_slowly, heartbeat))


def wait_for_files(running: Running, tmp_path: Path, number: int = 5) -> None:
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
