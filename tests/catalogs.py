"""Outputs that readers read: two recipes of each table on two days, made by the code that runs use."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from published import AT

from transforms.imaging.prepare import Prepared
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.records import Failure, ImageRef, Work
from transforms.storage import files
from transforms.tables import layout, publish, reader, schemas, writer
from transforms.tables.publish import UnitFile
from transforms.tables.rows import TableRows

DAYS = ("2026-11-20", "2026-11-21")
OLD_DAY = "2026-11-19"
TABLES = ("predictions", "embeddings", "failures")
PARTITIONS = ("model", "dt")

_CLASSIFIER = ModelSpec(name="pets", task="classify", size=16, width=5, output="probabilities")
_EMBEDDER = ModelSpec(name="vectors", task="embed", size=16, width=6, output="features")
_LABELS = tuple(Label(f"n0000000{number}", name) for number, name in enumerate(("ant", "bee", "cat", "dog", "emu")))
_OWN_LABELS = tuple(Label(None, name) for name in ("größer", "kleiner", "same"))

PLAIN = Recipe(_CLASSIFIER, "/bundle", "ab" * 32, "a test")
# Custom labels, which have no WordNet ids, fewer classes, and the column that PLAIN lacks.
_OWN = dataclasses.replace(_CLASSIFIER, name="trees", width=3)
ALL = Recipe(_OWN, "/bundle", "cd" * 32, "a test", top_k=2, probabilities=True)
# As ALL, but its folder sorts before the folder of PLAIN. Some readers take the columns of the first file.
ALL_FIRST = dataclasses.replace(ALL, spec=dataclasses.replace(_OWN, name="animals"))
VECTORS = Recipe(_EMBEDDER, "/bundle", "ef" * 32, "a test")
UNIT_LENGTH = dataclasses.replace(VECTORS, normalize=True)
WIDER = Recipe(dataclasses.replace(_EMBEDDER, name="wider", width=8), "/bundle", "01" * 32, "a test")


def make(output: str, recipes: Sequence[Recipe]) -> None:
    """Publish three units of each recipe: two on the first day, and one on the second."""
    units: list[UnitFile] = []
    for number, (day, run_id) in enumerate(((DAYS[0], "r1"), (DAYS[0], "r1"), (DAYS[1], "r2"))):
        uris = [f"gs://bucket/{day}/{number}/{letter}.jpg" for letter in "abcde"]
        units += [_put(output, recipe, day, run_id, uris) for recipe in recipes]
        units.append(_put_failures(output, day, run_id, number))
    for group in publish.group(units):
        publish.publish(group, output, "", "r2")


def make_older(output: str) -> None:
    """Write files of an earlier day as earlier versions wrote them: other encodings, and without the new columns."""
    for recipe in (PLAIN, VECTORS):
        rows = _rows(recipe, [f"gs://bucket/{OLD_DAY}/{letter}.jpg" for letter in "ab"]).to_arrow("r0")
        old = rows.drop_columns(["recipe", "run_id"]).replace_schema_metadata(
            {f"beamsight.{key}": value for key, value in recipe.metadata().items()}
        )
        sink = pa.BufferOutputStream()
        pq.write_table(
            old,
            sink,
            row_group_size=4096,
            compression="zstd",
            use_dictionary=["uri"],
            use_byte_stream_split=["embedding.list.element"] if "embedding" in old.column_names else False,
            use_compliant_nested_type=True,
            store_schema=True,
        )
        files.write(layout.table_file(output, recipe.table, OLD_DAY, "older"), sink.getvalue().to_pybytes())


def contents(output: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table, with the partitions, as pyarrow reads each file on its own, in order of the paths.

    Times are ISO strings, as in ``read_catalogs``.
    """
    rows: list[dict[str, Any]] = []
    for uri in sorted(reader.parts(layout.folder(output, table))):
        partitions = dict(part.split("=", 1) for part in Path(uri).parts if "=" in part)
        rows += (row | partitions for row in pq.ParquetFile(uri).read().to_pylist())
    return [row | {"failed_at": row["failed_at"].isoformat()} if "failed_at" in row else row for row in rows]


def _put(output: str, recipe: Recipe, day: str, run_id: str, uris: Sequence[str]) -> UnitFile:
    rows = _rows(recipe, uris)
    uri = layout.unit_file(output, run_id, recipe.table, day, "u" + uris[0].split("/")[-2])
    size = writer.put(uri, rows.to_arrow(run_id), recipe.metadata() | {"version": "1.0", "run_id": run_id})
    return UnitFile(recipe.table, day, uri, size, len(rows))


def _rows(recipe: Recipe, uris: Sequence[str]) -> TableRows:
    rows = TableRows(recipe, _LABELS if recipe.spec.name == PLAIN.spec.name else _OWN_LABELS)
    for number, uri in enumerate(uris):
        values = np.cos(np.arange(recipe.spec.width, dtype=np.float32) * (number + 2) + len(uri))
        outputs = np.exp(values) / np.exp(values).sum() if recipe.spec.task == "classify" else values
        image = Prepared(Work(ImageRef(uri), ()), str(number), f"{number:064x}", 640 + number, 480, {}, Counter())
        rows.add(image, outputs.astype(np.float32))
    return rows


def _put_failures(output: str, day: str, run_id: str, number: int) -> UnitFile:
    tables = (PLAIN.table, VECTORS.table)
    failures = [
        Failure(f"gs://bucket/{day}/{number}/x.jpg", "1", "fetch", "NotFound", "there is no x.jpg", True, tables, 2),
        Failure(f"list.csv:{number}", None, "list", "ListError", "no URI; “größer”", False, tables[:1]),
    ]
    uri = layout.unit_file(output, run_id, layout.FAILURES, day, f"u{number}")
    rows = schemas.failures_to_arrow(failures, run_id, AT)
    return UnitFile(layout.FAILURES, day, uri, writer.put(uri, rows, {"version": "1.0", "run_id": run_id}), 2)
