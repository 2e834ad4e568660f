"""Measure a run over a manifest whose images are all done in both tables: seconds and memory until the run ends.

beamsight's own writer writes the tables as complete runs would leave them: 512 images in each file. Keys are invented
and vectors are zeros, because history reads no vectors. The baseline is the same with a thousandth of the images.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks import common, material
from runners.jobs import resolve
from runners.jobs.options import RunOptions
from transforms import defaults
from transforms.inference.recipe import Recipe
from transforms.records import Failure
from transforms.tables import layout, schemas, writer

BASE = "gs://bucket-of-photographs/2026/11/camera"  # Never read, because all its images are done.


def uri(index: int) -> str:
    """Return an invented URI of realistic length."""
    return f"{BASE}-{index % 97:02}/IMG_{index:09}.jpg"


def rows(recipe: Recipe, uris: Sequence[str]) -> pa.Table:
    """Return the rows that a unit with these images would have written."""
    count = len(uris)
    columns: dict[str, schemas.Column] = {
        "uri": uris,
        "version": ["1700000000000000"] * count,
        "sha256": ["0" * 64] * count,
    }
    if recipe.spec.task == "embed":
        columns["embedding"] = np.zeros((count, recipe.spec.width), np.float32)
        return schemas.to_arrow(columns, schemas.embeddings(recipe.spec.width))
    best = {"class_id": 0, "wnid": None, "label": "tench", "score": 0.5}
    columns |= {name: [1] * count for name in ("width", "height")}
    columns |= {name: [value] * count for name, value in best.items()}
    columns["top_k"] = [[best] * recipe.top_k] * count
    return schemas.to_arrow(columns, schemas.predictions(recipe.spec.width, probabilities=False))


def failure_rows(tables: tuple[str, ...], uris: Sequence[str], attempt: int) -> pa.Table:
    """Return failures as if the server had not delivered any of these images."""
    message = "the server answered 503 for two minutes"
    images = [Failure(uri, "1700000000000000", "fetch", "Unreadable", message, True, tables, attempt) for uri in uris]
    return schemas.failures_to_arrow(images, "20260101T020000Z-000000", datetime(2026, 1, 1, tzinfo=timezone.utc))


def write(folder: Path, count: int, classifier: Path, embedder: Path, attempts: int) -> list[str]:
    """Write a manifest and tables of ``count`` images. Return the command that has nothing to do for them."""
    manifest, output = folder / "manifest.txt", folder / "catalog"
    with manifest.open("w", encoding="utf-8") as file:
        file.writelines(f"{uri(index)}\n" for index in range(count))
    options = RunOptions((str(manifest),), str(output), str(classifier), str(embedder))
    job, _ = resolve.resolve(options, PipelineOptions([]), gpu=False)
    for start in range(0, count, defaults.UNIT_SIZE):
        uris = [uri(index) for index in range(start, min(start + defaults.UNIT_SIZE, count))]
        for recipe in job.recipes:
            part = layout.unit_file(str(output), recipe.table, "2026-01-01", f"{start:020}")
            writer.put(part, rows(recipe, uris), recipe.metadata())
        for attempt in range(1, attempts + 1):
            part = layout.unit_file(str(output), layout.FAILURES, f"2026-01-{attempt:02}", f"{start:020}")
            writer.put(part, failure_rows(tuple(recipe.table for recipe in job.recipes), uris, attempt), {})
    models = ("--classifier", str(classifier), "--embedder", str(embedder))
    return [*common.BEAMSIGHT, "run", "--images", str(manifest), "--output", str(output), *models]


def main() -> None:
    """Measure a small number of URIs as the baseline, then the full number."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument(
        "--uris", type=int, default=1_000_000, metavar="N", help="number of URIs (default: %(default)s)"
    )
    parser.add_argument(
        "--attempts",
        type=int,
        default=0,
        metavar="N",
        help="number of earlier failures of each URI (default: %(default)s)",
    )
    arguments = parser.parse_args()
    classifier, embedder = material.bundles(arguments)
    figures = common.Figures(arguments)
    few = max(1, arguments.uris // 1000)
    for count in (few, arguments.uris):
        name = f"{count:,} URIs"
        with tempfile.TemporaryDirectory(prefix="beamsight-history-") as scratch:
            common.progress(f"writing the tables of {name}")
            command = write(Path(scratch), count, classifier, embedder, arguments.attempts)
            common.progress("running")
            done = common.measure(command)
        if done.code or "nothing to do" not in done.output:
            figures.not_available(name, done.message or done.output.strip())
            sys.exit(1)
        figures.add(name, "nothing to do after", done.seconds, "s", f"{few:,} URIs")
        figures.add(name, "peak memory", done.peak / 1e6, "MB", f"{few:,} URIs")
    figures.write()


if __name__ == "__main__":
    main()
