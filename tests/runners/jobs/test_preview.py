"""A dry run counts what a run would process, whatever state the output is in, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcs_server import Bucket

from runners.cli import app, codes
from transforms.imaging import drawn
from transforms.storage import files
from transforms.tables import inventory, layout

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    return str(tmp_path / "out") if getattr(request, "param", "gs") == "disk" else bucket.uri("out")


@pytest.fixture
def command(tmp_path: Path, tiny_classifier: str) -> list[str]:
    """A run over seven images, of which the third is broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(7):
        data = drawn.encode(drawn.draw(number, 60, 40))
        (folder / f"{number}.jpg").write_bytes(data[:200] if number == 2 else data)
    models = ["--classifier", tiny_classifier, "--embedder", "none", "--max-failures", "50%"]
    return ["run", "--images", str(folder), *models]


def preview(command: list[str], output: str, capsys: Capture) -> dict[str, str]:
    """The lines of a dry run by their first words."""
    before = sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/"))
    capsys.readouterr()
    assert app.main([*command, "--output", output, "--dry-run"]) == codes.DONE
    assert sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/")) == before
    lines = capsys.readouterr().out.splitlines()[:-2]
    return {name: text.strip() for name, text in (line.split("  ", 1) for line in lines)}


def figures(shown: dict[str, str]) -> tuple[str, str, str]:
    return shown["done before"], shown["failed before"], shown["to process"]


def unpublish(output: str) -> None:
    """Make the published files units again, as a run that was killed before it published leaves them."""
    for table, found in inventory.read(output).tables.items():
        for each in found:
            data, _ = files.read(each.uri)
            files.write(layout.unit_file(output, "20260101T000000Z-000000", table, each.day, "u"), data)
            files.delete(each.uri)


@pytest.mark.parametrize(
    ("state", "output"),
    [("published", "disk"), ("without an index", "gs"), ("units", "disk"), ("units of a killed publish", "gs")],
    indirect=["output"],
)
def test_the_state_of_the_output_makes_no_difference(
    state: str, command: list[str], output: str, capsys: Capture
) -> None:
    assert figures(preview(command, output, capsys)) == ("0 images", "0 images", "7 images")
    assert app.main([*command, "--output", output, "--limit", "5"]) == codes.DONE
    if state.startswith("units"):
        unpublish(output)
    if state in ("without an index", "units"):
        for stat in list(files.walk(f"{output}/_work/index/")):
            files.delete(stat.uri)
    assert figures(preview(command, output, capsys)) == ("4 images", "1 image", "2 images")
    assert app.main([*command, "--output", output]) == codes.DONE
    assert "done: 2 images" in capsys.readouterr().out
    assert app.main(["tables", output, "--check"]) == codes.DONE


def test_a_new_recipe_says_so(command: list[str], output: str, capsys: Capture) -> None:
    assert app.main([*command, "--output", output]) == codes.DONE
    assert "new recipe" not in capsys.readouterr().err
    (old,) = (table for table in inventory.read(output).tables if "/model=" in table)
    expected = f"`--top-k 3` is a new recipe: 6 rows of the old one ({old.partition('=')[2]}) stay, and the table of "
    command += ["--top-k", "3"]
    assert preview(command, output, capsys)["new recipe"].startswith(expected)

    assert app.main([*command, "--output", output]) == codes.DONE
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "new recipe" in line)
    (new,) = (table for table in inventory.read(output).tables if "/model=" in table and table != old)
    assert line == f"beamsight: {expected}{new.partition('=')[2]} starts empty"

    assert app.main([*command, "--output", output]) == codes.DONE
    assert "new recipe" not in capsys.readouterr().err
    assert "new recipe" not in preview(command, output, capsys)
