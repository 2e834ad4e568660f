"""A schedule on this machine, run by cron's shell and checked with systemd."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.template import local_schedule
from runners.template.cron_fields import Times
from runners.template.local_schedule import Timer
from transforms.errors import UsageError

NIGHT = Times.daily("02:30", "Europe/Berlin")
HARD = ["plain", "two words", "100%", "it's", '"quoted"', "$HOME", "back\\slash", "`id`", "a;b&c|d", "%Y/%m", "ü", ""]
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)

# Prints its arguments, its folder and its environment.
PROGRAM = """#!{python}
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), {{name: os.environ.get(name) for name in ("BEAMSIGHT_CACHE",)}}]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("t") / "two words, 100% it's"
    made.mkdir()
    program = made / "beam sight%"
    program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    return made


def timer(folder: Path, *words: str, **more: object) -> Timer:
    values = {"log": "a log%.txt", "program": (str(folder / "beam sight%"),), "environment": {}}
    return Timer(times=NIGHT, arguments=words, folder=str(folder), **{**values, **more})  # type: ignore[arg-type]


def by_cron(text: str) -> tuple[list[str], str, dict[str, str]]:
    """crontab(5): lines of a name and a value, and lines of five fields and a command up to a bare %."""
    environment: dict[str, str] = {}
    commands: list[tuple[list[str], str]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if found := re.fullmatch(r'(\w+)="?(.*?)"?', line):
            environment[found[1]] = found[2]
            continue
        *fields, command = line.split(" ", 5)
        commands.append((fields, re.sub(r"\\%", "%", re.split(r"(?<!\\)%", command)[0])))
    ((fields, command),) = commands
    return fields, command, environment


@given(st.lists(WORDS, max_size=5))
def test_a_word_of_any_characters_reaches_the_command_by_cron(folder: Path, words: list[str]) -> None:
    check_cron(folder, [word.replace("\\", "/") for word in words])


def test_hard_words_reach_the_command_by_cron(folder: Path) -> None:
    check_cron(folder, [word for word in HARD if "\\" not in word])
    with pytest.raises(UsageError, match="has a backslash"):
        local_schedule.format_crontab(timer(folder, *HARD))


def check_cron(folder: Path, words: list[str]) -> None:
    fields, command, environment = by_cron(
        local_schedule.format_crontab(timer(folder, *words, environment={"BEAMSIGHT_CACHE": "/c d"}))
    )
    assert fields == ["30", "2", "*", "*", "*"]
    assert environment == {"CRON_TZ": "Europe/Berlin", "BEAMSIGHT_CACHE": "/c d"}
    log = folder / "a log%.txt"
    log.unlink(missing_ok=True)
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd="/", env=environment)
    assert json.loads(log.read_text(encoding="utf-8")) == [words, str(folder), {"BEAMSIGHT_CACHE": "/c d"}]


def test_a_second_night_is_added_to_the_log(folder: Path) -> None:
    _, command, _ = by_cron(local_schedule.format_crontab(timer(folder, "nightly")))
    (folder / "a log%.txt").unlink(missing_ok=True)
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", command], check=True, cwd="/", env={})
    assert len((folder / "a log%.txt").read_text(encoding="utf-8").splitlines()) == 2


def by_systemd(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def unquoted(text: str) -> list[str]:
    """systemd.syntax(7), Quoting, and systemd.unit(5), Specifiers, as far as they are used."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in words]


@given(st.lists(WORDS, max_size=5))
def test_a_word_of_any_characters_stands_in_the_unit(words: list[str]) -> None:
    said = by_systemd(local_schedule.format_units(timer(Path("/f%"), *words))["beamsight.service"])
    assert said["ExecStart"].startswith(':"')
    assert unquoted(said["ExecStart"]) == ["/f%/beam sight%", *words]


def test_the_units_say_where_when_and_to_which_log(folder: Path) -> None:
    units = local_schedule.format_units(timer(folder, *HARD, name="birds", environment={"BEAMSIGHT_CACHE": "/c d%"}))
    service, clock = by_systemd(units["birds.service"]), by_systemd(units["birds.timer"])
    escaped = str(folder).replace("%", "%%")
    assert service["WorkingDirectory"] == escaped
    assert service["StandardOutput"] == service["StandardError"] == f"append:{escaped}/a log%%.txt"
    assert service["Environment"] == '"BEAMSIGHT_CACHE=/c d%%"'
    assert service["User"] == getpass.getuser()
    assert clock["OnCalendar"] == "*-*-* 02:30:00 Europe/Berlin"
    assert clock["Persistent"] == "true"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_takes_the_units(folder: Path, tmp_path: Path) -> None:
    units = local_schedule.format_units(timer(folder, *HARD, environment={"BEAMSIGHT_CACHE": "/c d%"}))
    for name, text in units.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    when = by_systemd(units["beamsight.timer"])["OnCalendar"]
    done = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, check=True)
    assert f"Normalized form: {when}" in done.stdout


def test_the_printed_commands_write_the_units(folder: Path, tmp_path: Path) -> None:
    units = local_schedule.format_units(timer(folder, *HARD))
    (tmp_path / "sudo").write_text(
        f'#!/bin/sh\nif [ "$1" = tee ]; then cat > {tmp_path}/"$(basename $2)"; else echo "$@" >> said; fi\n',
        encoding="utf-8",
    )
    (tmp_path / "sudo").chmod(0o755)
    script = local_schedule.format_install_commands(units)
    subprocess.run(["/bin/sh", "-c", script], check=True, cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in units} == units
    assert (tmp_path / "said").read_text().splitlines() == [
        "systemctl daemon-reload",
        "systemctl enable --now beamsight.timer",
    ]


def test_this_environments_program_runs() -> None:
    done = subprocess.run(
        [*local_schedule.find_program(), "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.startswith("beamsight ")
    assert Path(local_schedule.find_program()[0]).is_absolute()


def test_reads_the_environment_for_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in local_schedule.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")
    assert local_schedule.read_environment() == {"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}


@pytest.mark.parametrize(("at", "fields"), [("02:30", "30 2 * * *"), ("2:05", "5 2 * * *"), ("23:59", "59 23 * * *")])
def test_a_time_of_day_is_cron_and_back(at: str, fields: str) -> None:
    times = Times.daily(at, "UTC")
    assert times.fields == fields
    assert times.at == at.zfill(5)
    assert str(times) == f"every day at {at.zfill(5)}, UTC"


@pytest.mark.parametrize("fields", ["*/15 * * * *", "0 2,14 1-15 jan-mar *", "30 2 * * Mon-Fri", "0 0 31 12 7"])
def test_fields_of_cron_are_taken(fields: str) -> None:
    assert Times(fields, "UTC").at is None
    assert str(Times(fields, "Asia/Tokyo")) == f"{fields}, Asia/Tokyo"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("30 2 * *", "has 4 fields; pass 5"),
        ("60 2 * * *", "60 is not valid for the minute; pass 0 to 59"),
        ("0 24 * * *", "24 is not valid for the hour"),
        ("0 2 0 * *", "0 is not valid for the day of the month"),
        ("0 2 * 13 *", "13 is not valid for the month"),
        ("0 2 * * 8", "8 is not valid for the day of the week"),
        ("0 2 * * morning", "morning is not valid for the day of the week"),
        ("0 2 * * 1--3", "1--3 is not valid for the day of the week; pass *, 5"),
        ("*/0 2 * * *", "*/0 is not valid for the minute; pass *, 5"),
    ],
)
def test_refuses_invalid_fields(fields: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Times(fields, "UTC")


@pytest.mark.parametrize("at", ["24:00", "2", "02:60", "2.30", "half past two"])
def test_refuses_an_invalid_time_of_day(at: str) -> None:
    with pytest.raises(UsageError, match="is not a time of day; pass one such as 02:30"):
        Times.daily(at, "UTC")


@pytest.mark.parametrize("zone", ["Berlin", "Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_refuses_an_unknown_time_zone(zone: str) -> None:
    with pytest.raises(UsageError, match="is unknown; pass a name"):
        Times("30 2 * * *", zone)


def test_systemd_needs_a_daily_time(folder: Path) -> None:
    weekdays = Timer(Times("30 2 * * 1-5", "UTC"), ("nightly",), str(folder), "log")
    with pytest.raises(UsageError, match="with --systemd, pass --at"):
        local_schedule.format_units(weekdays)


def test_refuses_a_line_break(folder: Path) -> None:
    with pytest.raises(UsageError, match="has a line break"):
        timer(folder, "a\nb")
