"""``beamsight tables`` and ``beamsight index rebuild``: what they print, and what stays of the tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from gcs_server import Bucket
from published import AT, DAYS, OTHER, RECIPE, fill, put_unit

from beamsight.reports import run_report
from runners.cli import app, codes
from runners.lock.holder import current_process
from transforms.storage import files
from transforms.tables import check, inventory, layout, rebuild

Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    output = str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")
    fill(output)
    return output


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_list(output: str, capsys: Capture) -> None:
    put_unit(output, OTHER, DAYS[0], ["0e", "0f"], "r2")
    rebuild.delete(output, OTHER.table)
    assert app.main(["tables", output]) == codes.DONE
    tables, recipes, units = capsys.readouterr().out.split("\n\n")
    lines = [cells(line) for line in tables.splitlines()]
    assert lines[0] == ["TABLE", "DAYS", "FROM", "TO", "ROWS", "FILES", "SIZE", "INDEX"]
    found = {line[0]: [*line[1:6], line[7]] for line in lines[1:]}
    assert found == {
        RECIPE.table: ["3", DAYS[0], DAYS[2], "12", "3", "current"],
        OTHER.table: ["3", DAYS[0], DAYS[2], "6", "3", "missing"],
        "failures": ["3", DAYS[0], DAYS[2], "3", "3", "current"],
    }
    assert sorted(map(cells, recipes.splitlines())) == sorted(
        [
            ["RECIPE", "MADE WITH"],
            [RECIPE.folder, "f32, --resizer pillow, a test"],
            [OTHER.folder, "f32, --resizer pillow, a test"],
        ]
    )
    assert units == "not published yet: 2 rows in 1 file; the next run publishes them\n"


def test_the_list_has_the_options_of_the_run(output: str, capsys: Capture) -> None:
    run = run_report.Run("r1", output, AT, {"normalize": True}, {})
    run_report.write(Counter(), run, "failed")
    assert app.main(["tables", output]) == codes.DONE
    assert "f32, --resizer pillow, --normalize, a test" in capsys.readouterr().out


def test_the_check(output: str, capsys: Capture) -> None:
    assert app.main(["tables", output, "--check"]) == codes.DONE
    assert capsys.readouterr().out == "the tables and their key indexes are right\n"
    rebuild.delete(output, OTHER.table)
    files.write(f"{output}/failures/x", b"")
    assert app.main(["tables", output, "--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failures/x is not a file of the tables; move it to another folder",
        f"{OTHER.table}: the key index is missing; the next run makes it again, or `beamsight index rebuild`",
    ]


def test_the_removal_of_a_recipe(output: str, capsys: Capture) -> None:
    assert app.main(["tables", output, "--drop-recipe", RECIPE.folder]) == codes.DONE
    assert capsys.readouterr().out.startswith("removed 3 files (")
    assert not files.exists(layout.lock(output))
    assert list(check.check(output)) == []
    assert app.main(["tables", output, "--drop-recipe", RECIPE.folder]) == codes.WRONG_USE
    assert f"its recipes are {OTHER.folder}" in capsys.readouterr().err


def test_the_removal_of_days(output: str, capsys: Capture) -> None:
    assert app.main(["tables", output, "--expire-before", DAYS[1]]) == codes.DONE
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert {each.day for found in inventory.read(output).tables.values() for each in found} == {*DAYS[1:]}
    assert list(check.check(output)) == []
    assert app.main(["tables", output, "--expire-before", DAYS[1]]) == codes.DONE
    assert capsys.readouterr().out == f"there are no rows before {DAYS[1]}\n"


def test_the_rebuild_of_the_indexes(output: str, capsys: Capture) -> None:
    rebuild.delete(output, RECIPE.table)
    files.write(f"{layout.index_folder(output, OTHER.table)}x.json", b"{")
    assert app.main(["index", "rebuild", output]) == codes.DONE
    expected = [f"indexed 3 files of {table}" for table in sorted([RECIPE.table, OTHER.table, "failures"])]
    assert capsys.readouterr().out.splitlines() == expected
    assert not files.exists(layout.lock(output))
    assert list(check.check(output)) == []


@pytest.mark.parametrize(
    "words",
    [["tables", "--drop-recipe", RECIPE.folder], ["tables", "--expire-before", DAYS[1]], ["index", "rebuild"]],
)
def test_another_run_works_on_the_output(words: list[str], output: str, capsys: Capture) -> None:
    files.write(layout.lock(output), current_process("beamsight run", "r2").to_json())
    before = inventory.read(output)
    assert app.main([*words, output]) == codes.LOCKED
    assert "the output has been locked by" in capsys.readouterr().err
    assert inventory.read(output) == before
    assert app.main(["tables", output]) == codes.DONE


@pytest.mark.parametrize(
    "words", [["tables"], ["tables", "--check"], ["tables", "--drop-recipe", "x"], ["index", "rebuild"]]
)
def test_a_wrong_path_stays_as_it_is(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert app.main([*words, str(tmp_path / "typo")]) == codes.WRONG_USE
    assert "holds no tables; check the path" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_thing_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["tables", str(tmp_path), "--check", "--expire-before", DAYS[1]]) == codes.WRONG_USE
    assert "exclude each other" in capsys.readouterr().err
