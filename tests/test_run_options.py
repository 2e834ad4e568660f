"""What ``run`` prints, and how much it does: --limit, --dry-run, --quiet, --json, --verbose, --runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tables

from runners.cli import app, codes
from transforms.imaging import drawn

IMAGES = 7


@pytest.fixture
def command(tmp_path: Path, tiny_classifier: str) -> list[str]:
    """A run over seven images, of which the third is broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(IMAGES):
        data = drawn.encode(drawn.draw(number, 60, 40))
        (folder / f"{number}.jpg").write_bytes(data[:200] if number == 2 else data)
    models = ["--classifier", tiny_classifier, "--embedder", "none", "--max-failures", "50%"]
    return ["run", "--images", str(folder), "--output", str(tmp_path / "out"), *models]


def done(tmp_path: Path) -> list[str]:
    return sorted(Path(row["uri"]).name for row in tables.rows(tmp_path / "out", "predictions", tmp_path))


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_limit_processes_the_first_missing_images(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, "--limit", "3"]) == codes.DONE
    assert done(tmp_path) == ["0.jpg", "1.jpg"]  # 2.jpg is broken
    assert "4 left for later runs (--limit)" in capsys.readouterr().out

    assert app.main([*command, "--limit", "3", "--json"]) == codes.DONE
    counts = report(capsys)["counts"]
    assert done(tmp_path) == ["0.jpg", "1.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert (counts["listed"], counts["missing"], counts["images"], counts["left"]) == (7, 3, 3, 1)
    assert (counts["already_done"], counts["failed_before"]) == (2, 1)

    assert app.main([*command, "--limit", "3", "--json"]) == codes.DONE
    counts = report(capsys)["counts"]
    assert (counts["missing"], counts["images"], counts["left"]) == (1, 1, 0)
    assert done(tmp_path)[-1] == "6.jpg"


def test_a_limited_run_reads_units_of_the_asked_size(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, "--limit", "6", "--unit-size", "2", "--json"]) == codes.DONE
    assert report(capsys)["counts"]["images"] == 6
    assert done(tmp_path) == ["0.jpg", "1.jpg", "3.jpg", "4.jpg", "5.jpg"]


def dry_run(command: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The lines of a dry run, by their first words."""
    assert app.main([*command, "--dry-run"]) == codes.DONE
    shown = capsys.readouterr().out
    assert shown.endswith("\n\nnothing was processed or written\n")
    return dict(line.split("  ", 1) for line in shown.splitlines()[:-2])


def test_a_dry_run_counts_and_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {key: value.strip() for key, value in dry_run(command, capsys).items()}
    assert not (tmp_path / "out").exists()
    assert (shown["listed"], shown["done before"], shown["to process"]) == ("7 images", "0 images", "7 images")
    assert shown["estimated time"].startswith("not known")

    assert app.main([*command, "--limit", "5"]) == codes.DONE
    before = sorted((tmp_path / "out").rglob("*"))
    capsys.readouterr()
    shown = {key: value.strip() for key, value in dry_run([*command, "--limit", "1"], capsys).items()}
    assert (shown["done before"], shown["failed before"]) == ("4 images", "1 image")
    assert shown["to process"] == "1 image"
    assert shown["estimated time"].endswith("images/s, the speed of the last such run")
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_dry_run_downloads_no_model(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    shown = dry_run([*command, "--classifier", "efficientnet-b7"], capsys)
    assert "efficientnet-b7 is not on this machine; the first run downloads it" in shown["model"]
    assert "to process" not in shown


def test_quiet_prints_nothing_of_a_run_that_is_done(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--quiet"]) == codes.DONE
    assert capsys.readouterr() == ("", "")


def test_quiet_keeps_errors(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--quiet", "--max-failures", "0"]) == codes.TOO_MANY_FAILURES
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "beamsight: 1 of 7 images failed, more than --max-failures 0 allows\n"


def test_json_is_the_report_and_nothing_else(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, "--json"]) == codes.DONE
    (file,) = (tmp_path / "out" / "runs").glob("*.json")
    assert report(capsys) == json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("runner", ["DirectRuner", "flinkrunnr", "DaskRunner"])
def test_an_unknown_runner_is_wrong_use(
    runner: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, f"--runner={runner}"]) == codes.WRONG_USE
    shown = capsys.readouterr().err
    assert shown.startswith(f"beamsight: --runner {runner} is not a runner")
    assert "DirectRunner, " in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_runner_may_be_written_as_beam_takes_it(command: list[str], tmp_path: Path) -> None:
    assert app.main([*command, "--runner=direct"]) == codes.DONE
    assert len(done(tmp_path)) == IMAGES - 1


def test_quiet_and_verbose_exclude_each_other(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--quiet", "--verbose"]) == codes.WRONG_USE
    assert "--quiet and --verbose exclude each other" in capsys.readouterr().err


def test_an_unexpected_error_has_one_line_and_a_traceback_on_demand(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody foresaw\nthis")

    monkeypatch.setattr("runners.jobs.run.run", fail)
    assert app.main(command) == codes.RUN_FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("beamsight: unexpected error: ZeroDivisionError: nobody foresaw this; add --verbose")
    assert shown.count("\n") == 1
    assert app.main([*command, "--verbose"]) == codes.RUN_FAILED
