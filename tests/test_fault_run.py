"""Runs on gs:// while the network spoils 30 % of all answers, whatever was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tables
from faults import EVERY_FAULT, shower
from gcs_server import Bucket, GcsServer
from google.cloud.storage.retry import DEFAULT_RETRY

from runners.cli import app, codes
from transforms.imaging import drawn
from transforms.storage import files
from transforms.storage.gcs import GcsObjects

IMAGES = {f"{number}.bmp": drawn.encode(drawn.draw(number, 90 + number, 60), "bmp") for number in range(16)}


def test_after_three_runs_the_tables_are_those_of_a_run_without_faults(
    gcs: GcsServer,
    bucket: Bucket,
    tmp_path: Path,
    tiny_classifier: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry = DEFAULT_RETRY.with_timeout(30.0).with_delay(initial=0.01, maximum=0.1)
    monkeypatch.setitem(files.SYSTEMS, "gs", GcsObjects(retry, timeout=(10.0, 1.0)))
    for name, data in IMAGES.items():
        bucket.put(f"in/{name}", data)
    half = list(IMAGES)[:8]
    bucket.put("list.csv", "\n".join(["uri", *(bucket.uri(f"in/{name}") for name in half)]).encode())

    def run() -> int:
        return app.main(
            [
                *("run", "--images", bucket.uri("list.csv"), "--images", bucket.uri("in/*.bmp")),
                *("--output", bucket.uri("out"), "--embedder", "none"),
                *("--classifier", tiny_classifier, "--max-failures", "100%", "--unit-size", "8"),
                *("--fetch-timeout", "10"),
            ]
        )

    def rows() -> dict[str, dict[str, Any]]:
        by_uri = tables.by_uri(tables.rows(bucket, "predictions", tmp_path))
        return {uri: {**row, "run_id": None} for uri, row in by_uri.items()}

    assert run() == codes.DONE
    right = rows()
    assert len(right) == len(IMAGES)
    for name in bucket.names():
        if name.startswith("out/"):
            bucket.delete(name)
    # What stalls or drips takes all the time of a download, so the image is for the next run. The last has no next.
    in_time = [fault for fault in EVERY_FAULT if fault not in ("stall", "drip")]
    for night, kinds in enumerate((EVERY_FAULT, EVERY_FAULT, in_time)):
        gcs.faults = shower(10 + night, kinds=kinds)
        assert run() == codes.DONE
        gcs.faults = None
        assert rows().items() <= right.items()
    assert rows() == right
