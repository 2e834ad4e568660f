"""Make the tables of many nights as nightly runs would leave them: with beamsight's own publish and index code.

Only what no later night reads is made up: vectors have two floats, and units have 25,000 rows instead of 512. A unit
states the size that it would have with 2304 floats, so a night has as many published files and index files as with
real vectors. One image in a thousand failed for good. The predictions are a copy of the embeddings.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from beamsight.models import registry
from benchmarks import common
from transforms.inference.recipe import Recipe
from transforms.records import Failure
from transforms.tables import index_merge, layout, publish, schemas, writer
from transforms.tables.publish import UnitFile

NIGHT = 100_000  # images
VECTOR = 2304  # floats of a real vector
RECIPES = tuple(
    Recipe(spec=spec, bundle="", content_hash="0" * 64, source="")
    for spec in (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
)
CLASSIFIER, EMBEDDER = TABLES = tuple(recipe.table for recipe in RECIPES)

ROOT = "gs://bucket-of-photographs/"
_FIRST = date(2026, 1, 1)
_UNIT = 25_000
_FAILING = 1000  # one image in so many
_MICROSECONDS = 86_400_000_000  # of a day
_MERGED = 3  # nights that are published at once: their files are as many as it takes for a merge


def day(night: int) -> str:
    """Return the logical day of a night, as 2026-11-20."""
    return (_FIRST + timedelta(night)).isoformat()


def folder(night: int) -> str:
    """Return the folder with the images of a night."""
    return f"{ROOT}{_FIRST + timedelta(night):%Y%m%d}/"


def images(night: int) -> tuple[list[str], list[str]]:
    """Return the URIs of a night's images, sorted, and their versions."""
    random = np.random.default_rng(night)
    step = (1 << 40) // NIGHT
    names = np.arange(NIGHT) * step + random.integers(0, step, NIGHT)
    start = 1_767_225_600_000_000 + night * _MICROSECONDS
    versions = (start + random.integers(0, _MICROSECONDS, NIGHT)).tolist()
    prefix = folder(night)
    return [f"{prefix}{name:010x}.jpg" for name in names.tolist()], list(map(str, versions))


def rows(table: str, uris: Sequence[str], versions: Sequence[str], width: int) -> pa.Table:
    """Return rows of a table. Vectors are random, because real ones compress little."""
    count = len(uris)
    columns: dict[str, schemas.Column] = {
        "uri": uris,
        "version": versions,
        "sha256": ["0" * 64] * count,
        "recipe": [table.partition("=")[2]] * count,
        "run_id": ["20260101T020000Z-000000"] * count,
    }
    if table == EMBEDDER:
        columns["embedding"] = np.random.default_rng(0).standard_normal((count, width), np.float32)
        return schemas.to_arrow(columns, schemas.embeddings(width))
    best = {"class_id": 0, "wnid": None, "label": "tench", "score": 0.5}
    columns |= {name: [1] * count for name in ("width", "height")}
    columns |= {name: [value] * count for name, value in best.items()}
    columns["top_k"] = [[best] * 5] * count
    return schemas.to_arrow(columns, schemas.predictions(1000, probabilities=False))


def write_units(output: str, table: str, night: int, unit: int, width: int) -> Iterator[UnitFile]:
    """Write the units of a night for one of ``TABLES``, and yield their files."""
    uris, versions = images(night)
    done = [index for index in range(NIGHT) if index % _FAILING]
    for start in range(0, len(done), unit):
        part = done[start : start + unit]
        unit_rows = rows(table, [uris[index] for index in part], [versions[index] for index in part], width)
        yield _write(output, table, night, start, unit_rows)


def write_failures(output: str, night: int) -> UnitFile:
    """Write one unit with the failures of a night, and return its file."""
    keys = list(zip(*images(night), strict=True))[::_FAILING]
    failures = [Failure(*key, "decode", "NotAnImage", "no image", False, TABLES) for key in keys]
    failed_at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return _write(output, layout.FAILURES, night, 0, schemas.failures_to_arrow(failures, "run", failed_at))


def _write(output: str, table: str, night: int, number: int, unit_rows: pa.Table) -> UnitFile:
    uri = layout.unit_file(output, f"night-{night}", table, day(night), f"{number:020}")
    size = writer.put(uri, unit_rows, {"version": "0", "run_id": f"night-{night}"})
    return UnitFile(table, day(night), uri, size, unit_rows.num_rows)


def extend(output: Path, nights: range) -> list[float]:
    """Add nights to the tables. Return the seconds of each merge of the embeddings' index."""
    shutil.rmtree(output / CLASSIFIER, ignore_errors=True)
    shutil.rmtree(layout.index_folder(str(output), CLASSIFIER), ignore_errors=True)
    merges = []
    with ProcessPoolExecutor(_MERGED, multiprocessing.get_context("spawn")) as pool:
        for start in range(nights.start, nights.stop, _MERGED):
            some = range(start, min(start + _MERGED, nights.stop))
            list(pool.map(partial(_publish_night, str(output)), some))
            index_merge.merge(str(output), layout.FAILURES)
            since = time.perf_counter()
            index_merge.merge(str(output), EMBEDDER)
            merges.append(time.perf_counter() - since)
            if start % 10 == 0:
                common.progress(f"{some.stop} nights")
    _copy_to_predictions(output)
    return merges


def _publish_night(output: str, night: int) -> None:
    failures = write_failures(output, night)
    embeddings = [unit._replace(size=unit.rows * VECTOR * 4) for unit in write_units(output, EMBEDDER, night, _UNIT, 2)]
    for group in publish.group([*embeddings, failures]):
        publish.publish(group, output, "", f"night-{night}")


def _copy_to_predictions(output: Path) -> None:
    """Make the table of the predictions and its index from those of the embeddings."""
    shutil.copytree(output / EMBEDDER, output / CLASSIFIER)
    source, target = (Path(layout.index_folder(str(output), table)) for table in (EMBEDDER, CLASSIFIER))
    shutil.copytree(source, target)
    for about in target.glob("*.json"):
        about.write_text(about.read_text(encoding="utf-8").replace(EMBEDDER, CLASSIFIER), encoding="utf-8")
