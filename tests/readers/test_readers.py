"""The snippets of docs/tables.md find the same rows with every reader.

Readers that are no dependencies of the tests have environments of their own, which ``make readers`` creates.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import catalogs
import pytest
from pinned import ROOT

DOCS = (
    (ROOT / "docs" / "tables.md")
    .read_text(encoding="utf-8")
    .partition("\n## Read the tables\n")[2]
    .partition("\n## ")[0]
)
SNIPPETS = {
    section.partition("\n")[0]: re.findall(r"```(?:python|sql)\n(.+?)```", section, re.DOTALL)
    for section in DOCS.split("\n### ")[1:]
}
DROP_PARTITIONS = set(re.findall(r"^\| (.+?) \| dropped \|", DOCS, re.MULTILINE))

HERE = "here"  # the environment of the tests
ENVIRONMENTS = {
    HERE: ("pyarrow", "DuckDB"),
    "python": ("pyarrow", "pandas", "DuckDB", "Polars", "Hugging Face datasets", "Lance", "pyiceberg"),
    "spark-3.5": ("Spark",),
    "spark-4": ("Spark",),
}
CASES = [(reader, environment) for environment, readers in ENVIRONMENTS.items() for reader in readers]

Rows = list[dict[str, Any]]


# Outputs. Some readers take the columns of the first file.
LACKING = "the first file lacks columns"
OLDER = "older files lack columns, and the first file has all"
WIDTHS = "vectors of two widths"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("outputs")
    paths = {name: str(folder / str(number)) for number, name in enumerate((LACKING, OLDER, WIDTHS))}
    catalogs.make(paths[LACKING], (catalogs.PLAIN, catalogs.ALL, catalogs.VECTORS, catalogs.UNIT_LENGTH))
    catalogs.make(paths[OLDER], (catalogs.ALL_FIRST, catalogs.PLAIN, catalogs.VECTORS, catalogs.UNIT_LENGTH))
    catalogs.make_older(paths[OLDER])
    catalogs.make(paths[WIDTHS], (catalogs.VECTORS, catalogs.WIDER))
    return paths


def python(environment: str) -> Path:
    """The interpreter of an environment. A test of an environment that does not exist is skipped."""
    if environment == HERE:
        return Path(sys.executable)
    if environment.startswith("spark") and not shutil.which("java"):
        pytest.skip("no java: apt-get install default-jdk-headless")
    path = Path(sys.prefix) / "readers" / environment / "bin" / "python"
    if not (path.parents[1] / "installed").exists():
        pytest.skip(f"no environment for {environment}: make readers")
    return path


def code(reader: str, table: str, folder: str, *, older_files: bool, environment: str) -> str:
    """The code of a reader for a table. Only the name of the table and the path of its folder are replaced."""
    blocks = [SNIPPETS[reader][0]]
    if reader == "Lance":
        blocks.insert(0, SNIPPETS["pyarrow"][0])
    if older_files and environment == "spark-3.5":
        blocks.append(SNIPPETS["Spark"][1])
    return "\n".join(blocks).replace("catalog/predictions", folder).replace("predictions", table)


def read(environment: str, jobs: list[dict[str, str]], scratch: Path) -> list[Rows]:
    """Run jobs in an environment. The rows of each job have the order that the reader returns."""
    (scratch / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    script = Path(__file__).with_name("read_catalogs.py")
    command = [str(python(environment)), str(script), str(scratch / "jobs.json"), str(scratch / "rows.json")]
    own = {"TZ": "UTC", "TMPDIR": str(scratch), "HF_HOME": str(scratch / "hf"), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-5000:]
    found: list[Rows] = json.loads((scratch / "rows.json").read_text(encoding="utf-8"))
    return found


def ordered(rows: Iterable[Mapping[str, Any]], without: Iterable[str] = ()) -> list[str]:
    """Rows without some columns and without nulls, as lines that can be compared."""
    return sorted(
        json.dumps(
            {name: value for name, value in row.items() if name not in without and value is not None}, sort_keys=True
        )
        for row in rows
    )


@pytest.mark.parametrize(("reader", "environment"), CASES)
def test_it_finds_the_same_rows(reader: str, environment: str, outputs: dict[str, str], tmp_path: Path) -> None:
    plans = [
        (WIDTHS, catalogs.WIDER.table),
        *((LACKING, table) for table in catalogs.TABLES),
        *((OLDER, table) for table in catalogs.TABLES),  # the last, because an option for Spark stays for later jobs
    ]
    jobs = []
    for output, folder in plans:
        table = folder.partition("/")[0]
        own = code(reader, table, f"{outputs[output]}/{folder}", older_files=output == OLDER, environment=environment)
        jobs.append({"reader": reader, "code": own, "variable": table})
    for (output, folder), rows in zip(plans, read(environment, jobs, tmp_path), strict=True):
        drop = reader in DROP_PARTITIONS or output == WIDTHS  # A reader of one recipe may keep ``model`` or not.
        without = catalogs.PARTITIONS if drop else ()
        expected = catalogs.contents(outputs[output], folder)
        assert ordered(rows, catalogs.PARTITIONS if output == WIDTHS else ()) == ordered(expected, without), folder


def test_every_snippet_is_run() -> None:
    assert set(SNIPPETS) == {reader for reader, _ in CASES}
    assert set(re.findall(r"^\| (.+?) \| (?:kept|dropped) \|", DOCS, re.MULTILINE)) == set(SNIPPETS)


def test_the_outputs_are_what_the_readers_must_cope_with(outputs: dict[str, str]) -> None:
    for output in (LACKING, OLDER):
        rows = {table: catalogs.contents(outputs[output], table) for table in catalogs.TABLES}
        for table in ("predictions", "embeddings"):
            assert len({row["model"] for row in rows[table]}) == 2
            assert {row["dt"] for row in rows[table]} >= set(catalogs.DAYS)
        assert {row["dt"] for row in rows["failures"]} == set(catalogs.DAYS)
        assert {len(row.get("probabilities", ())) for row in rows["predictions"]} == {0, 3}
    (first, *_), (first_older, *_) = (catalogs.contents(outputs[output], "predictions") for output in (LACKING, OLDER))
    assert "probabilities" not in first
    assert "probabilities" in first_older
    assert any("recipe" not in row for row in catalogs.contents(outputs[OLDER], "embeddings"))
    assert {len(row["embedding"]) for row in catalogs.contents(outputs[WIDTHS], "embeddings")} == {6, 8}
