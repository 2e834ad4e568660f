"""What is said of a new recipe: which options differ, and how many rows of the old ones stay."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gcs_server import Bucket
from published import AT, DAYS, OTHER, RECIPE, fill

from beamsight.reports import recipes, run_report
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.storage import files
from transforms.tables import inventory, remove


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    """One recipe with twelve rows, and the report of the run that made them."""
    output = str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")
    fill(output)
    remove.drop_recipe(output, OTHER.folder, "")
    run_report.write(Counter(), run_report.Run("r1", output, AT, {"normalize": False}, {}), "failed")
    return output


def explained(output: str, **changes: Any) -> tuple[Recipe, list[str]]:
    recipe = dataclasses.replace(RECIPE, **changes)
    return recipe, list(recipes.explain_new(output, [recipe]))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"normalize": True}, "`--normalize`"),
        ({"precision": "bf16"}, "`--precision bf16`"),
        ({"normalize": True, "precision": "bf16"}, "`--normalize --precision bf16`"),
        ({"content_hash": "cd" * 32, "bundle": "gs://b/new"}, "`--embedder gs://b/new`"),
        ({"spec": dataclasses.replace(RECIPE.spec, resizer="simd")}, "`--resizer simd`"),
        ({"spec": dataclasses.replace(RECIPE.spec, resizer="simd", crop="pad")}, "`--resizer simd --embedder /bundle`"),
        ({"quantized": "ef" * 32}, None),
    ],
)
def test_the_cause(changes: dict[str, Any], cause: str | None, output: str) -> None:
    recipe, lines = explained(output, **changes)
    assert lines == [
        f"{cause or recipe.folder} is a new recipe: 12 rows of the old one ({RECIPE.folder}) stay, and the table of "
        f"{recipe.folder} starts empty"
    ]


def test_without_the_report_of_the_run(output: str) -> None:
    files.delete(f"{output}/runs/r1.json")
    recipe, (line,) = explained(output, normalize=True)
    assert line.startswith(f"{recipe.folder} is a new recipe: 12 rows of")


@pytest.mark.parametrize(
    "changes",
    [{}, {"spec": ModelSpec(name="other", task="embed", size=16, width=4, output="features")}],
    ids=["the same recipe", "another model"],
)
def test_nothing_to_say(changes: dict[str, Any], output: str) -> None:
    assert explained(output, **changes)[1] == []


def test_an_empty_output(tmp_path: Path) -> None:
    assert list(recipes.explain_new(str(tmp_path), [RECIPE])) == []


def test_more_old_recipes(tmp_path: Path) -> None:
    fill(str(tmp_path))
    recipe, (line,) = explained(str(tmp_path), precision="bf16")
    last = max(RECIPE.folder, OTHER.folder)
    assert line == (
        f"`--precision bf16` is a new recipe: 18 rows of 2 older recipes (last {last}) stay, and the table of "
        f"{recipe.folder} starts empty"
    )


def test_a_damaged_file_of_another_recipe_does_not_stop_the_run(output: str) -> None:
    (damaged,) = (each.uri for each in inventory.read(output).tables[RECIPE.table] if each.day == DAYS[0])
    files.write(damaged, b"PAR1")
    _, (line,) = explained(output, normalize=True)
    assert f"is a new recipe; the rows of the old one ({RECIPE.folder}) stay, and cannot be counted: " in line
    assert damaged in line
