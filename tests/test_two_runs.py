"""Two runs in one process at the same time: one is stopped, and the other does not notice."""

from __future__ import annotations

import io
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gcs_server import Bucket, GcsServer

from runners.jobs import run as jobs
from runners.jobs.ending import RunFailed
from runners.jobs.options import RunOptions
from runners.lock import lock
from transforms.imaging import drawn
from transforms.storage import files


class Job(threading.Thread):
    """A run over one folder of a bucket."""

    def __init__(self, bucket: Bucket, name: str, classifier: str) -> None:
        super().__init__(name=name)
        self.output = bucket.uri(f"out-{name}")
        images = (bucket.uri(f"{name}/*.jpg"),)
        self.options = RunOptions(
            images=images, output=self.output, classifier=classifier, embedder="none", unit_size=10
        )
        self.report: dict[str, Any] = {}
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.report = jobs.run(self.options, [], io.StringIO(), show=False)
        except RunFailed as error:
            self.error = error


def test_a_run_that_is_stopped_stops_no_other(
    gcs: GcsServer, bucket: Bucket, tmp_path: Path, tiny_classifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, number in (("lost", 40), ("other", 20)):
        for i in range(number):
            bucket.put(f"{folder}/{i:02}.jpg", drawn.encode(drawn.draw(i, 40, 40)))
    monkeypatch.setattr(lock, "hold", partial(lock.hold, heartbeat=0.05))
    both_work = threading.Barrier(2, timeout=60)
    lost_has_ended = threading.Event()
    waited: set[str] = set()

    def wait(_: str, path: str) -> None:
        """Let both reach an image, and hold up the other one there until the lost one has ended."""
        for folder in ("lost", "other"):
            if f"{folder}%2F" in path and "out-" not in path and "alt=media" in path:
                if folder not in waited:
                    waited.add(folder)
                    both_work.wait()
                lost_has_ended.wait(60)

    gcs.faults = wait
    lost, other = (Job(bucket, name, tiny_classifier) for name in ("lost", "other"))
    lost.start()
    other.start()
    taken = None
    while taken is None:  # as another process does, between two heartbeats
        while not {"lost", "other"} <= waited:
            threading.Event().wait(0.01)
        uri = f"{lost.output}/lock.json"
        taken = files.write_if(uri, b'{"token": "x", "user": "someone"}', files.read(uri)[1].version)
    lost.join(60)
    assert lost.error is not None
    assert "was taken over by someone" in str(lost.error)
    lost_has_ended.set()
    other.join(60)

    assert other.error is None
    assert (other.report["state"], other.report["counts"]["images"], other.report["counts"]["listed"]) == (
        "done",
        20,
        20,
    )
    (report,) = (bucket.get(name) for name in bucket.names() if name.startswith("out-lost/runs/"))
    assert b'"state": "failed"' in report
    assert b'"listed": 40' in report
    assert b'"images": 0' in report
    assert not [name for name in bucket.names() if name.startswith("out-lost/predictions")]
