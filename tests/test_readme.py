"""What README says in code is run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import StandardOptions
from pinned import ROOT

from beamsight import options
from runners.cli import app, codes, config_file, nightly
from runners.cli.parser import Parsed
from runners.jobs.options import RunOptions
from transforms.errors import UsageError

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
SQL = re.findall(r"```sql\n(.+?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```\n(.+?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("beamsight ")
]


@pytest.fixture(scope="module")
def catalog(shared_dir: Path, trained: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of three photos and a broken one, as in README's first rows."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    for photo in (shared_dir / "photos").glob("*.jpg"):
        (folder / "photos" / photo.name).write_bytes(photo.read_bytes())
    (folder / "photos" / "IMG_0042.jpg").write_bytes((folder / "photos" / "parrot.jpg").read_bytes()[:3000])
    models = ["--classifier", trained["classification"], "--embedder", trained["feature_vector"]]
    command = ["run", "--images", str(folder / "photos"), "--output", str(folder / "catalog"), "--max-failures", "1"]
    assert app.main([*command, *models]) == codes.DONE
    return folder / "catalog"


def rows(query: str, catalog: Path) -> list[dict[str, Any]]:
    found = duckdb.execute(query.replace("'catalog/", f"'{catalog}/"))
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_the_query_for_cats_finds_the_cat(catalog: Path) -> None:
    (cat,) = rows(SQL[0], catalog)
    assert Path(cat["uri"]).name == "cat_720p.jpg"
    assert cat["label"] == "Egyptian cat"


def test_the_query_for_a_file_says_why_it_failed(catalog: Path) -> None:
    (failure,) = rows(SQL[1], catalog)
    assert (failure["stage"], failure["error"], failure["retryable"]) == ("decode", "Truncated", False)


def test_the_first_rows_are_those_of_the_photos(catalog: Path) -> None:
    query = "select uri, class_id, label, score, width, height from read_parquet('catalog/predictions/*/*/*.parquet')"
    for row in rows(query, catalog):
        name, size = Path(row["uri"]).name, rf"{row['width']} +{row['height']}"
        shown = re.search(rf"{name} +{row['class_id']} +{row['label']} +([0-9.]+) +{size}", README)
        assert shown is not None, row
        assert float(shown[1]) == pytest.approx(row["score"], abs=0.001)  # resizers give scores that differ by 0.0004


def test_the_pipeline_and_the_model_give_the_classes_of_the_photos(
    shared_dir: Path, trained: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PYTHON[0].count("\n") <= 10
    photos = sorted((shared_dir / "photos").glob("*.jpg"))
    (tmp_path / "images.txt").write_text("\n".join(map(str, [*photos, tmp_path / "missing.jpg"])))
    for name, photo in zip(("a.jpg", "b.jpg"), photos, strict=False):
        (tmp_path / name).symlink_to(photo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", "FnApiRunner")  # the default one may need the network
    places = {
        "efficientnet-b7": trained["classification"],
        "efficientnet-b6": trained["feature_vector"],
        "models/b7": trained["classification"],
    }
    names: dict[str, Any] = {}
    for block in PYTHON:
        exec(re.sub("|".join(places), lambda found: places[found[0]], block), names)

    rows = {
        table: [row for path in tmp_path.glob(f"{table}-*") for row in pq.read_table(path).to_pylist()]
        for table in ("predictions", "embeddings", "failures")
    }
    assert {Path(row["uri"]).name: row["class_id"] for row in rows["predictions"]} == {
        "burger.jpg": 933,
        "cat_720p.jpg": 285,
        "parrot.jpg": 88,
    }
    assert {row["uri"] for row in rows["embeddings"]} == set(map(str, photos))
    assert [(Path(row["uri"]).name, row["error"]) for row in rows["failures"]] == [("missing.jpg", "NotFound")]
    assert names["best"] == ["cheeseburger", "Egyptian cat"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    """The words of each command are options that there are, with values of their kind."""
    command = re.sub(r"\[(--[^\]|]+?)( \|[^\]]*)?\]", r"\1", command)  # of alternatives, the first
    words = [word.strip("'\"") for word in re.findall(r"'[^']*'|\S+", command)][1:]
    try:
        parsed = app.parser().parse(words)
    except UsageError as error:
        raise AssertionError(f"{command}: {error}") from error
    assert not [word for word in parsed.beam if not word.startswith("--runner")]


def test_the_file_of_options_is_valid(tmp_path: Path) -> None:

    (text,) = re.findall(r"```toml\n(.+?)```", README, re.DOTALL)
    (tmp_path / "beamsight.toml").write_text(text, encoding="utf-8")
    content = config_file.read(str(tmp_path / "beamsight.toml"), options.of(*nightly.OPTIONS))
    night = Parsed(nightly.COMMAND, dict(content.values), content.beam_words(()))
    assert night.option(RunOptions).output == "gs://bucket/catalog"
    assert night.beam == ["--runner=DataflowRunner"]


def test_it_is_short_enough_to_be_read() -> None:
    assert README.count("\n") <= 250
