"""Rows of tables come back as they were written: columns, recipes, and files of earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import catalogs
import pytest
from apache_beam.typehints.schemas import typing_to_runner_api
from collecting import run

import beamsight
from transforms.errors import UsageError


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("catalog"))
    catalogs.make(folder, (catalogs.PLAIN, catalogs.ALL, catalogs.VECTORS, catalogs.WIDER))
    return folder


def read(output: str, table: str, **options: Any) -> tuple[list[Any], Any]:
    kept: dict[str, Any] = {}

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        kept["rows"] = pipeline | beamsight.ReadCatalog(output, table, **options)
        return {"rows": kept["rows"] | beam.Reshuffle()}  # through the coder of the schema

    return run(build)["rows"], kept["rows"].element_type


def plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def key(row: Any) -> tuple[str, str]:
    return row["recipe"], row["uri"]


@pytest.mark.parametrize(
    ("table", "recipe", "kind"),
    [
        ("predictions", catalogs.PLAIN, beamsight.PredictionRow),
        ("predictions", catalogs.ALL, beamsight.FullPredictionRow),
        ("embeddings", catalogs.WIDER, beamsight.EmbeddingRow),
    ],
)
def test_a_recipe_has_its_type_and_all_its_rows(output: str, table: str, recipe: Any, kind: Any) -> None:
    rows, element_type = read(output, table, recipe=recipe.folder)
    assert element_type is kind
    expected = catalogs.contents(output, recipe.table)
    names = kind._fields
    assert sorted(map(plain, rows), key=key) == sorted(({n: row[n] for n in names} for row in expected), key=key)


def test_a_column_that_some_recipes_lack_is_null_there(output: str) -> None:
    rows, element_type = read(output, "predictions")
    assert len(rows) == 30
    assert {row.recipe for row in rows if row.probabilities is None} == {catalogs.PLAIN.folder}
    assert "logical" not in str(typing_to_runner_api(element_type))


def test_all_recipes_of_embeddings_are_read_together(output: str) -> None:
    rows, element_type = read(output, "embeddings")
    assert element_type is beamsight.EmbeddingRow
    assert {(row.recipe, len(row.embedding)) for row in rows} == {
        (catalogs.VECTORS.folder, 6),
        (catalogs.WIDER.folder, 8),
    }


def test_columns_are_a_choice_in_its_order(output: str) -> None:
    rows, element_type = read(output, "predictions", columns=["label", "uri", "top_k"], recipe=catalogs.PLAIN.folder)
    assert [name for name, _ in element_type._fields] == ["label", "uri", "top_k"]
    expected = {(row["uri"], row["label"]) for row in catalogs.contents(output, catalogs.PLAIN.table)}
    assert {(row.uri, row.label) for row in rows} == expected
    assert all(row.top_k[0].label == row.label for row in rows)


def test_failures_are_read_with_times_as_text(output: str) -> None:
    rows, element_type = read(output, "failures")
    assert element_type is beamsight.FailureRow
    expected = catalogs.contents(output, "failures")
    assert sorted((row.uri, row.message, row.version) for row in rows) == sorted(
        (row["uri"], row["message"], row["version"]) for row in expected
    )
    assert {len(row.failed_at) for row in rows} == {len("2026-11-20T01:02:03.456789+00:00")}


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    catalogs.make(str(tmp_path), (catalogs.PLAIN, catalogs.VECTORS))
    catalogs.make_older(str(tmp_path))
    rows, _ = read(str(tmp_path), "embeddings")
    assert {row.recipe for row in rows} == {catalogs.VECTORS.folder}
    assert {row.run_id for row in rows} == {"", "r1", "r2"}
    assert len(rows) == 17


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("prediction", {}, "'prediction' is not a table.*predictions"),
        ("predictions", {"columns": ["lable"]}, "no column 'lable'.*label"),
        ("predictions", {"recipe": "none-1"}, "no predictions of the recipe 'none-1'.*pets-"),
    ],
)
def test_what_is_not_there_is_refused(output: str, table: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = beam.Pipeline() | beamsight.ReadCatalog(output, table, **options)


def test_an_output_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no embeddings; check the path"):
        _ = beam.Pipeline() | beamsight.ReadCatalog(str(tmp_path), "embeddings")
