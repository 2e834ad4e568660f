"""Tables of a few rows, written and published as a run does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np

from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.records import Failure
from transforms.tables import layout, publish, rebuild, schemas, writer
from transforms.tables.publish import UnitFile

DAYS = ("2026-11-19", "2026-11-20", "2026-11-21")
AT = datetime(2026, 11, 20, tzinfo=timezone.utc)

_SPEC = ModelSpec(name="tiny", task="embed", size=16, width=4, output="features")
RECIPE = Recipe(spec=_SPEC, bundle="/bundle", content_hash="ab" * 32, source="a test")
OTHER = dataclasses.replace(RECIPE, normalize=True)
TABLES = (RECIPE.table, OTHER.table, layout.FAILURES)


def put_unit(output: str, recipe: Recipe, day: str, uris: Sequence[str], run_id: str = "r1") -> UnitFile:
    """Write a unit with a vector of each image."""
    rows = len(uris)
    columns: dict[str, schemas.Column] = {
        "uri": uris,
        "version": ["1"] * rows,
        "sha256": ["ab"] * rows,
        "recipe": [recipe.folder] * rows,
        "run_id": [run_id] * rows,
        "embedding": np.full((rows, 4), 0.5, np.float32),
    }
    table = schemas.to_arrow(columns, schemas.embeddings(4))
    uri = layout.unit_file(output, run_id, recipe.table, day, _name(uris))
    size = writer.put(uri, table, recipe.metadata() | {"version": "1.0", "run_id": run_id})
    return UnitFile(recipe.table, day, uri, size, rows)


def put_failures(
    output: str, day: str, uris: Sequence[str], attempt: int = 1, run_id: str = "r1", tables: Sequence[str] = ()
) -> UnitFile:
    """Write a unit's file of failures."""
    lacking = tuple(tables or (RECIPE.table,))
    failures = [Failure(uri, "1", "fetch", "NotFound", "gone", True, lacking, attempt) for uri in uris]
    uri = layout.unit_file(output, run_id, layout.FAILURES, day, _name(uris))
    rows = schemas.failures_to_arrow(failures, run_id, AT)
    return UnitFile(layout.FAILURES, day, uri, writer.put(uri, rows, {"version": "1.0", "run_id": run_id}), len(uris))


def _name(uris: Sequence[str]) -> str:
    return f"u{uris[0]}".replace("/", "-")


def publish_all(output: str) -> None:
    """Do what every run does at its start: complete the key indexes, and publish the units of earlier runs."""
    for table in TABLES:
        if not rebuild.is_current(output, table, publish.undo(output, table)):
            rebuild.rebuild(output, [table])
    by_run = publish.list_leftovers(output)
    for run_id in sorted(by_run):
        for group in publish.group(by_run[run_id]):
            publish.publish(group, output, "", "r9")


def fill(output: str) -> None:
    """Make two recipes on three days, with four images and a failure a day, and publish them."""
    for number, day in enumerate(DAYS):
        uris = [f"{number}{letter}" for letter in "abcd"]
        put_unit(output, RECIPE, day, uris)
        put_unit(output, OTHER, day, uris[:2])
        put_failures(output, day, [f"{number}x"])
    publish_all(output)
