"""Catalog: the job of the command as one step of another pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tables
from collecting import run

import beamsight
from runners.cli import app, codes
from transforms.errors import UsageError
from transforms.imaging import drawn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.png").write_bytes(drawn.encode(drawn.draw(number, 40, 30), "png"))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"")
    return tmp_path / "in"


def test_it_writes_what_the_command_writes(
    folder: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    models = {"classifier": tiny_classifier, "embedder": tiny_embedder}

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        return {"done": pipeline | beamsight.Catalog(str(folder), str(tmp_path / "own"), **models, top_k=2)}

    (counts,) = run(build)["done"]
    assert isinstance(counts, beamsight.CatalogCounts)
    report = json.loads((tmp_path / "own" / "runs" / f"{counts.run_id}.json").read_text())
    assert report["state"] == "done"
    assert counts._replace(run_id="") == beamsight.CatalogCounts(
        run_id="",
        listed=6,
        duplicates=0,
        done_before=0,
        failed_before=0,
        left=0,
        images=6,
        failed=1,
        retryable=0,
        files_published=3,
        rows_published=11,
    )

    command = ["run", "--images", str(folder), "--output", str(tmp_path / "command"), "--top-k", "2", "--quiet"]
    assert app.main([*command, "--classifier", tiny_classifier, "--embedder", tiny_embedder, "--max-failures=9"]) == 0
    for table in ("predictions", "embeddings", "failures"):
        own, other = (
            [{**row, "run_id": "", "failed_at": ""} for row in tables.rows(tmp_path / output, table, tmp_path)]
            for output in ("own", "command")
        )
        assert own == other
        assert own

    # The next run has nothing to do, whichever of the two it is.
    (again,) = run(build)["done"]
    assert (again.done_before, again.failed_before, again.images, again.rows_published) == (5, 1, 0, 0)
    arguments = [*command[:4], str(tmp_path / "own"), *command[5:], "--classifier", tiny_classifier]
    assert app.main([*arguments, "--embedder", tiny_embedder]) == codes.DONE


def test_two_catalogs_are_in_one_pipeline(folder: Path, tmp_path: Path, tiny_embedder: str) -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        return {
            name: pipeline
            | name
            >> beamsight.Catalog(
                str(folder), str(tmp_path / name), classifier=None, embedder=tiny_embedder, limit=limit
            )
            for name, limit in (("Two", 2), ("Three", 3))
        }

    found = run(build)
    assert [(found[name][0].images, found[name][0].left) for name in ("Two", "Three")] == [(2, 4), (3, 3)]
    assert len(tables.rows(tmp_path / "Two", "embeddings", tmp_path)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presicion": "f32"}, "Catalog has no option 'presicion'.*precision"),
        ({"on_finish": "https://a.b"}, "no option 'on_finish'"),
        ({"unit_size": 0}, "--unit-size 0"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        beamsight.Catalog("in/*.jpg", "out", **options)


def test_a_source_without_images_is_refused(tmp_path: Path, tiny_embedder: str) -> None:
    with pytest.raises(UsageError, match="none"):
        _ = beam.Pipeline() | beamsight.Catalog(
            str(tmp_path / "none"), str(tmp_path / "out"), classifier=None, embedder=tiny_embedder
        )
