"""The days of a nightly run, and the sources of those days."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from beamsight.reports import run_report
from beamsight.reports.run_report import State
from runners.cli import app, codes
from runners.jobs.options import Night, RunOptions
from runners.nights import catch_up, day_patterns, nightly
from runners.nights.options import NightlyOptions
from transforms import counts
from transforms.errors import UsageError
from transforms.imaging import drawn

DAY = date(2026, 3, 1)
UTC = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gs://b/{date:%Y/%m/%d}/**", "gs://b/2026/03/01/**"),
        ("gs://b/{yesterday:%Y/%m/%d}/**", "gs://b/2026/02/28/**"),
        ("{date}-{yesterday:%y%m%d}.csv", "2026-03-01-260228.csv"),
        ("photos/*.jpg", "photos/*.jpg"),
        ("a{{b}}-{date:%j}", "a{b}-060"),
    ],
)
def test_expands_a_pattern(pattern: str, expected: str) -> None:
    assert day_patterns.expand(pattern, DAY) == expected
    assert day_patterns.names_today(pattern) == ("{date" in pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("gs://b/{day}/**", "{day} is not a day"),
        ("gs://b/{}/**", "{} is not a day"),
        ("gs://b/{date!r}/**", "is not a day"),
        ("gs://b/{date.year}/**", "{date.year} is not a day"),
        ("gs://b/{date:YYYY}/**", "'YYYY' has no % code"),
        ("gs://b/{date:%Y/**", "{"),
        ("gs://b/*.{jpg,png}", "{jpg,png} is not a day"),
        ("gs://b/date}/**", "}"),
    ],
)
def test_refuses_unknown_fields_and_formats(pattern: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        day_patterns.expand(pattern, DAY)
    assert words in str(refused.value)
    assert "{date:%Y/%m/%d}" in str(refused.value)
    assert pattern in str(refused.value)


def test_today_depends_on_the_time_zone() -> None:
    late = datetime(2026, 3, 1, 23, 30, tzinfo=timezone.utc)
    assert NightlyOptions().today(late) == DAY
    assert NightlyOptions(time_zone="Europe/Berlin").today(late) == date(2026, 3, 2)
    assert NightlyOptions(time_zone="America/New_York").today(late.replace(hour=3)) == date(2026, 2, 28)
    assert NightlyOptions(day=date(2020, 1, 1)).today(late) == date(2020, 1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"day": DAY, "first": DAY}, "--date"),
        ({"last": DAY}, "--from"),
        ({"first": DAY, "last": date(2026, 2, 1)}, "--from 2026-03-01 is after --to 2026-02-01"),
    ],
)
def test_refuses_contradictory_days(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NightlyOptions(**options)


def test_refuses_an_unknown_time_zone() -> None:
    with pytest.raises(UsageError, match="--time-zone Berlin is unknown"):
        NightlyOptions(time_zone="Berlin").today(datetime.now(timezone.utc))


PATTERN = "in/{yesterday}/**"


def write_report(
    output: Path,
    started: datetime,
    *days: date,
    waiting: tuple[date, ...] = (),
    state: State = "done",
    for_now: int = 0,
    patterns: tuple[str, ...] = (PATTERN,),
) -> None:
    """The report of a run for days."""
    night = {"patterns": patterns, "days": [*map(str, days)], "waiting": [*map(str, waiting)]}
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{len(days):06x}"
    run = run_report.Run(run_id, str(output), started, {"night": night}, {})
    run_report.put(run_report.compose(Counter({counts.TRANSIENT: for_now}), run, started, state), run.uri)


def at(day: date, hour: int = 2) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=timezone.utc)


def back(days: int) -> date:
    return DAY - timedelta(days=days)


def incomplete(output: Path, *patterns: str, days: int = 7) -> list[int]:
    """Return how many days ago each incomplete day was."""
    found = catch_up.list_incomplete(str(output), DAY, days, patterns or (PATTERN,), UTC)
    assert found == sorted(found)
    return [(DAY - each).days for each in found]


def test_days_before_the_first_run_are_left_out(tmp_path: Path) -> None:
    assert incomplete(tmp_path) == []
    write_report(tmp_path, at(back(3)), back(3))
    assert incomplete(tmp_path) == [2, 1]


def test_finds_incomplete_days(tmp_path: Path) -> None:
    write_report(tmp_path, at(back(20)), back(20))
    write_report(tmp_path, at(back(7)), back(7), state="failed")
    write_report(tmp_path, at(back(6)), back(6), for_now=1)
    write_report(tmp_path, at(back(5)), back(5), state="running")
    write_report(tmp_path, at(back(4)), back(4))
    write_report(tmp_path, at(back(3)), back(3), waiting=(back(3),))
    write_report(tmp_path, at(back(1)), back(1), patterns=("other/**", PATTERN))
    assert incomplete(tmp_path) == [7, 6, 5, 3, 2]
    assert incomplete(tmp_path, days=3) == [3, 2]
    assert incomplete(tmp_path, days=0) == []
    write_report(tmp_path, at(back(1), 5), back(7), back(6), back(4), for_now=1)  # the last run of a day counts
    write_report(tmp_path, at(back(1), 6), back(7), back(6))
    assert incomplete(tmp_path) == [5, 4, 3, 2]


def test_finds_all_days_after_a_long_pause(tmp_path: Path) -> None:
    write_report(tmp_path, at(back(30)), back(30))
    assert incomplete(tmp_path) == [7, 6, 5, 4, 3, 2, 1]


def test_a_run_for_other_patterns_completes_no_day(tmp_path: Path) -> None:
    for ago in (3, 2, 1):
        write_report(tmp_path, at(back(ago)), back(ago))
    assert incomplete(tmp_path) == []
    assert incomplete(tmp_path, PATTERN, "more/{yesterday}/**") == [3, 2, 1]


def test_a_run_does_not_complete_a_day_before_its_end(tmp_path: Path) -> None:
    today = "in/{date}/**"
    write_report(tmp_path, at(back(3)), back(3), patterns=(today,))
    write_report(tmp_path, at(back(1), 1), back(2), patterns=(today,))
    write_report(tmp_path, at(back(1)), back(1), patterns=(today,))
    assert incomplete(tmp_path, today) == [3, 1]


def test_damaged_reports_and_those_of_other_commands_complete_no_day(tmp_path: Path) -> None:
    write_report(tmp_path, at(back(2)), back(2))
    write_report(tmp_path, at(back(1)), back(1))
    (damaged,) = (tmp_path / "runs").glob(f"{back(1):%Y%m%d}*")
    for text in ("", "[]", "{}", '{"options": {}}', '{"options": {"night": {}}, "started_at": "x"}'):
        damaged.write_text(text, encoding="utf-8")
        assert incomplete(tmp_path) == [1]


def test_resolves_the_days_of_a_run(tmp_path: Path) -> None:
    for day in (back(2), back(1)):
        folder = tmp_path / "in" / f"{day}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
    asked = RunOptions((f"{tmp_path}/in/{{date}}", f"{tmp_path}/always.txt"), str(tmp_path / "out"))
    (tmp_path / "always.txt").write_text("a.jpg\n", encoding="utf-8")
    tonight = nightly.resolve_days(asked, NightlyOptions(first=back(2), last=DAY), at(DAY))
    assert tonight.options.images == (
        f"{tmp_path}/in/{back(2)}",
        f"{tmp_path}/always.txt",
        f"{tmp_path}/in/{back(1)}",
    )
    by_source = {f"{tmp_path}/in/{day}": f"{day}" for day in (back(2), back(1))}
    by_source[f"{tmp_path}/always.txt"] = f"{back(2)}"  # a source of more days belongs to the first of them
    night = Night(asked.images, (f"{back(2)}", f"{back(1)}", f"{DAY}"), (f"{DAY}",), by_source=by_source)
    assert tonight.options.night == night
    assert json.loads(json.dumps(tonight.options.to_json()))["night"]["waiting"] == [f"{DAY}"]
    assert tonight.messages == (
        f"images of {back(2)} to {DAY}",
        f"not all sources have images yet for {DAY}; later nights check them again",
    )
    with pytest.raises(UsageError, match="is after today"):
        nightly.resolve_days(asked, NightlyOptions(first=DAY + timedelta(days=1)), at(DAY))
    with pytest.raises(UsageError, match="http://"):
        nightly.resolve_days(RunOptions(("http://h/a.jpg",), str(tmp_path)), NightlyOptions(), at(DAY))


def test_files_of_the_output_are_no_images_of_a_night(tmp_path: Path) -> None:
    asked = RunOptions((f"{tmp_path}/{{date}}/**",), f"{tmp_path}/{DAY}/out")
    (tmp_path / f"{DAY}/out/runs").mkdir(parents=True)
    (tmp_path / f"{DAY}/out/runs/a.json").write_text("{}", encoding="utf-8")
    tonight = nightly.resolve_days(asked, NightlyOptions(), at(DAY))
    by_source = {f"{tmp_path}/{DAY}/**": f"{DAY}"}
    assert tonight.options.night == Night(asked.images, (f"{DAY}",), (f"{DAY}",), by_source=by_source)


@pytest.fixture
def command(tmp_path: Path, tiny_classifier: str) -> list[str]:
    """Return the command of a night, for images of the last three days."""
    for ago in range(3):
        folder = tmp_path / "in" / f"{back(ago):%Y/%m}" / f"{back(ago):%d}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(drawn.encode(drawn.draw(ago, 40, 40)))
    return [
        *("nightly", "--images", f"{tmp_path}/in/{{date:%Y/%m/%d}}", "--output", f"{tmp_path}/out"),
        *("--classifier", tiny_classifier, "--embedder", "none"),
    ]


def test_runs_for_a_day_and_for_incomplete_days(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--date", f"{back(2)}"]) == codes.DONE
    assert f"images of {back(2)}\n" in capsys.readouterr().err
    assert app.main([*command, "--date", f"{DAY}"]) == codes.DONE
    out, err = capsys.readouterr()
    assert f"images of {DAY}, and of earlier days that are not complete: {back(1)}\n" in err
    assert "2 new rows" in out
    assert app.main([*command, "--from", f"{back(2)}", "--to", f"{DAY}"]) == codes.DONE
    assert "none of the 3 images is missing" in capsys.readouterr().out


def test_refuses_options_of_another_runner(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--date", "2026-01-01", "--max-workers", "3"]) == codes.WRONG_USE
    assert "--runner=DataflowRunner" in capsys.readouterr().err


def test_a_day_without_images_is_no_error(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--from", "2020-01-01", "--to", "2020-01-01"]) == codes.DONE
    assert "none of the 0 images" in capsys.readouterr().out
    night = [*command, "--date", "2020-01-01", "--catch-up", "0", "--expect-at-least", "1"]
    assert app.main(night) == codes.TOO_FEW_IMAGES


@pytest.mark.parametrize("more", [["--quiet"], ["--json"]])
def test_a_pattern_whose_folder_does_not_exist_is_a_warning_of_the_report(
    command: list[str], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = f"{tmp_path}/inn/{{date:%Y}}/**"
    assert app.main([*command, "--images", pattern, "--date", f"{DAY}", *more]) == codes.DONE
    warning = (
        f"--images {pattern}: there is no {tmp_path}/inn/; check the pattern, if this is not before the first upload"
    )
    assert capsys.readouterr().err.splitlines()[-1] == f"beamsight: {warning}"
    (report,) = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out" / "runs").glob("*.json"))
    assert (report["state"], report["options"]["night"]["warnings"]) == ("done", [warning])


def test_a_day_without_images_in_a_folder_that_exists_has_no_warning(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, "--date", "2020-01-01"]) == codes.DONE
    assert "there is no" not in capsys.readouterr().err
    (report,) = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out" / "runs").glob("*.json"))
    assert report["options"]["night"]["warnings"] == []
