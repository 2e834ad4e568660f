"""Which days a night is for, and what stands for them."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from runners.cli import app, codes
from runners.jobs.options import Night, RunOptions
from runners.nights import catch_up, day_patterns, nightly
from runners.nights.options import NightlyOptions
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
def test_a_pattern_names_a_day(pattern: str, expected: str) -> None:
    assert day_patterns.expand(pattern, DAY) == expected
    assert day_patterns.names_today(pattern) == ("{date" in pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("gs://b/{day}/**", "{day} is no day"),
        ("gs://b/{}/**", "{} is no day"),
        ("gs://b/{date!r}/**", "is no day"),
        ("gs://b/{date.year}/**", "{date.year} is no day"),
        ("gs://b/{date:YYYY}/**", "'YYYY' is the same on all days"),
        ("gs://b/{date:%Y/**", "{"),
        ("gs://b/*.{jpg,png}", "{jpg,png} is no day"),
        ("gs://b/date}/**", "}"),
    ],
)
def test_braces_that_are_not_ours_are_refused(pattern: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        day_patterns.expand(pattern, DAY)
    assert words in str(refused.value)
    assert "{date:%Y/%m/%d}" in str(refused.value)
    assert pattern in str(refused.value)


def test_today_is_told_by_the_time_zone() -> None:
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
def test_days_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NightlyOptions(**options)


def test_a_time_zone_that_is_none() -> None:
    with pytest.raises(UsageError, match="--time-zone Berlin"):
        NightlyOptions(time_zone="Berlin").today(datetime.now(timezone.utc))


PATTERN = "in/{yesterday}/**"


def past(
    output: Path,
    started: datetime,
    *days: date,
    waiting: tuple[date, ...] = (),
    state: str = "done",
    for_now: int = 0,
    patterns: tuple[str, ...] = (PATTERN,),
) -> None:
    """The report of a run for days."""
    report = {
        "state": state,
        "started_at": started.isoformat(),
        "counts": {"failed_for_now": for_now},
        "options": {"night": {"patterns": patterns, "days": [*map(str, days)], "waiting": [*map(str, waiting)]}},
    }
    path = output / "runs" / f"{started:%Y%m%dT%H%M%SZ}-{len(days):06x}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report), encoding="utf-8")


def at(day: date, hour: int = 2) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=timezone.utc)


def back(days: int) -> date:
    return DAY - timedelta(days=days)


def unsettled(output: Path, *patterns: str, days: int = 7) -> list[int]:
    """How many days ago each of them was."""
    found = catch_up.list_incomplete(str(output), DAY, days, patterns or (PATTERN,), UTC)
    assert found == sorted(found)
    return [(DAY - each).days for each in found]


def test_nobody_missed_the_days_before_the_first(tmp_path: Path) -> None:
    assert unsettled(tmp_path) == []
    past(tmp_path, at(back(3)), back(3))
    assert unsettled(tmp_path) == [2, 1]


def test_days_that_no_run_settled(tmp_path: Path) -> None:
    past(tmp_path, at(back(20)), back(20))
    past(tmp_path, at(back(7)), back(7), state="failed")
    past(tmp_path, at(back(6)), back(6), for_now=1)
    past(tmp_path, at(back(5)), back(5), state="running")
    past(tmp_path, at(back(4)), back(4))
    past(tmp_path, at(back(3)), back(3), waiting=(back(3),))
    past(tmp_path, at(back(1)), back(1), patterns=("other/**", PATTERN))
    assert unsettled(tmp_path) == [7, 6, 5, 3, 2]
    assert unsettled(tmp_path, days=3) == [3, 2]
    assert unsettled(tmp_path, days=0) == []
    past(tmp_path, at(back(1), 5), back(7), back(6), back(4), for_now=1)  # the last run of a day is what counts
    past(tmp_path, at(back(1), 6), back(7), back(6))
    assert unsettled(tmp_path) == [5, 4, 3, 2]


def test_all_days_back_where_the_last_run_is_long_ago(tmp_path: Path) -> None:
    past(tmp_path, at(back(30)), back(30))
    assert unsettled(tmp_path) == [7, 6, 5, 4, 3, 2, 1]


def test_other_patterns_settle_nothing(tmp_path: Path) -> None:
    for ago in (3, 2, 1):
        past(tmp_path, at(back(ago)), back(ago))
    assert unsettled(tmp_path) == []
    assert unsettled(tmp_path, PATTERN, "more/{yesterday}/**") == [3, 2, 1]


def test_a_day_that_was_not_over_is_not_settled(tmp_path: Path) -> None:
    today = "in/{date}/**"
    past(tmp_path, at(back(3)), back(3), patterns=(today,))
    past(tmp_path, at(back(1), 1), back(2), patterns=(today,))
    past(tmp_path, at(back(1)), back(1), patterns=(today,))
    assert unsettled(tmp_path, today) == [3, 1]


def test_reports_of_other_commands_and_damaged_ones_settle_nothing(tmp_path: Path) -> None:
    past(tmp_path, at(back(2)), back(2))
    past(tmp_path, at(back(1)), back(1))
    (damaged,) = (tmp_path / "runs").glob(f"{back(1):%Y%m%d}*")
    for text in ("", "[]", "{}", '{"options": {}}', '{"options": {"night": {}}, "started_at": "x"}'):
        damaged.write_text(text, encoding="utf-8")
        assert unsettled(tmp_path) == [1]


def test_a_run_is_settled(tmp_path: Path) -> None:
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
    assert tonight.options.night == Night(asked.images, (f"{back(2)}", f"{back(1)}", f"{DAY}"), (f"{DAY}",))
    assert json.loads(json.dumps(tonight.options.to_json()))["night"]["waiting"] == [f"{DAY}"]
    assert tonight.messages == (
        f"the days {back(2)} to {DAY}",
        f"no images yet of all that is named for {DAY}; later nights look again",
    )
    with pytest.raises(UsageError, match="comes after today"):
        nightly.resolve_days(asked, NightlyOptions(first=DAY + timedelta(days=1)), at(DAY))
    with pytest.raises(UsageError, match="http://"):
        nightly.resolve_days(RunOptions(("http://h/a.jpg",), str(tmp_path)), NightlyOptions(), at(DAY))


def test_a_day_and_what_was_left_of_the_days_before(
    tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for ago in range(3):
        folder = tmp_path / "in" / f"{back(ago):%Y/%m}" / f"{back(ago):%d}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(drawn.encode(drawn.draw(ago, 40, 40)))
    command = [
        *("nightly", "--images", f"{tmp_path}/in/{{date:%Y/%m/%d}}", "--output", f"{tmp_path}/out"),
        *("--classifier", tiny_classifier, "--embedder", "none"),
    ]
    assert app.main([*command, "--date", f"{back(2)}"]) == codes.DONE
    assert f"images of {back(2)}\n" in capsys.readouterr().err
    assert app.main([*command, "--date", f"{DAY}"]) == codes.DONE
    said = capsys.readouterr()
    assert f"images of {DAY}, and of days that are not settled: {back(1)}\n" in said.err
    assert "2 new rows" in said.out
    assert app.main([*command, "--from", f"{back(2)}", "--to", f"{DAY}"]) == codes.DONE
    assert "none of the 3 images is missing" in capsys.readouterr().out
    assert app.main([*command, "--date", "2026-01-01", "--max-workers", "3"]) == codes.WRONG_USE
    assert "--runner=DataflowRunner" in capsys.readouterr().err
    # A day without images is no wrong use, and has its report.
    assert app.main([*command, "--from", "2020-01-01", "--to", "2020-01-01"]) == codes.DONE
    assert "none of the 0 images" in capsys.readouterr().out
    nothing = [*command, "--date", "2020-01-01", "--catch-up", "0", "--expect-at-least", "1"]
    assert app.main(nothing) == codes.TOO_FEW_IMAGES
