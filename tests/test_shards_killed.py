"""Runs that are killed while they read shards: nothing is lost, nothing twice, and no finished unit is done again."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import picture_shards
import pyarrow.parquet as pq
import tables
from killed_runs import Runs

from runners.cli import app, codes
from transforms.imaging import drawn

KILLS = int(os.environ.get("BEAMSIGHT_TEST_KILLS", "4"))  # set it to 20 for a thorough test
TABLES = ("predictions", "failures")


def finished(output: Path) -> set[str]:
    """The images that have a row or a failure in a published file or in a finished unit."""
    found: set[str] = set()
    for table in TABLES:
        for name in (*tables.files_of(output, table), *tables.units_of(output, table)):
            found |= set(pq.ParquetFile(name).read(["uri"])["uri"].to_pylist())
    return found


def test_killed_within_shards(tmp_path: Path, tiny_classifier: str) -> None:
    seed = random.randrange(1 << 30)
    chosen = random.Random(seed)
    output = tmp_path / "out"
    (tmp_path / "in").mkdir()
    images = killed = 0
    arguments = ["run", "--images", f"{tmp_path}/in", "--output", str(output), "--unit-size", "4"]
    arguments += ["--classifier", tiny_classifier, "--embedder", "none", "--max-failures", "100%"]
    with Runs() as runs:
        for number in range(KILLS):
            pictures = {f"{image}.jpg": drawn.encode(drawn.draw(image, 32, 32)) for image in range(images, images + 10)}
            pictures[f"{images}.jpg"] = b"broken"
            images += 10
            suffix = list(picture_shards.MAKERS)[number % len(picture_shards.MAKERS)]
            (tmp_path / f"in/{number}{suffix}").write_bytes(picture_shards.MAKERS[suffix](pictures))
            done = finished(output)
            code, _ = runs.run(arguments, (r"/_work/(units|started)/", chosen.randint(1, 14), chosen.random() < 0.5))
            assert code in (-9, codes.DONE), f"seed {seed}"
            killed += code == -9
            assert done <= finished(output), f"seed {seed}"
        done = finished(output)
        assert runs.run(arguments)[0] == codes.DONE
    assert killed >= KILLS // 2
    reports = [json.loads(path.read_bytes()) for path in (output / "runs").iterdir()]
    counts = max(reports, key=lambda report: report["started_at"])["counts"]
    assert counts["images"] == images - len(done), f"seed {seed}"
    assert (counts["listed"], counts["shards"]) == (images, KILLS)
    found = {table: tables.by_uri(tables.rows(output, table, tmp_path)) for table in TABLES}
    assert len(found["failures"]) == KILLS
    assert len(found["predictions"]) == images - KILLS
    assert app.main(["tables", str(output), "--check"]) == codes.DONE
