"""``beamsight schedule print``: the night that cron would start, started, and what systemd would be told."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import tables

from runners.cli import app, codes
from runners.template import local_schedule
from transforms.imaging import drawn


@pytest.fixture
def folder(tmp_path: Path, tiny_classifier: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the command is given: two pictures, and a file of options."""
    made = tmp_path / "my photos, 100%"
    (made / "in").mkdir(parents=True)
    for number in range(2):
        (made / "in" / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, 90, 60)))
    (made / "beamsight.toml").write_text(
        f'images = "in"\noutput = "out"\nclassifier = "{tiny_classifier}"\nembedder = "none"\n'
        'time-zone = "Asia/Tokyo"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(made)
    for name in local_schedule.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return made


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.main(["schedule", "print", *words]) == codes.DONE
    said, complaints = capsys.readouterr()
    assert complaints == ""
    return said


def test_what_cron_would_start_does_the_night(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    lines = printed(capsys, "--cron", "--at=02:30", "--top-k", "3").splitlines()
    *environment, line = [line for line in lines if not line.startswith("#")]
    assert environment == ["CRON_TZ=Asia/Tokyo", f'BEAMSIGHT_CACHE="{tmp_path / "cache"}"']
    assert line.startswith("30 2 * * * ")
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # all that cron gives, and ours
    command = line.removeprefix("30 2 * * * ").replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], check=False, cwd="/", env=bare, capture_output=True, text=True)
    log = (folder / "beamsight.log").read_text(encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), log
    assert f"options from {folder / 'beamsight.toml'}" in log
    assert "done: 2 images" in log
    rows = tables.rows(folder / "out", "predictions", tmp_path)
    assert [len(row["top_k"]) for row in rows] == [3, 3]


def test_systemd_is_told_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "--systemd", "--at=02:30", "--name=birds", "--log=/var/log/birds", "--top-k=3")
    lines = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    escaped = str(folder).replace("%", "%%")
    assert lines["WorkingDirectory"] == escaped
    words = shlex.split(lines["ExecStart"].removeprefix(":"))
    assert words == [*local_schedule.find_program(), "nightly", "--top-k=3", f"--config={escaped}/beamsight.toml"]
    assert lines["OnCalendar"] == "*-*-* 02:30:00 Asia/Tokyo"
    assert lines["StandardOutput"] == "append:/var/log/birds"
    assert "/etc/systemd/system/birds.timer" in said


def test_the_command_line_wins_over_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.toml").write_text((folder / "beamsight.toml").read_text(encoding="utf-8"), encoding="utf-8")
    said = printed(capsys, "--cron", "--times=0 3 * * mon-fri", "--time-zone=UTC", "--config", "other.toml")
    assert "CRON_TZ=UTC\n" in said
    (line,) = (line for line in said.splitlines() if line.startswith("0 3 * * mon-fri "))
    words = shlex.split(line.replace("\\%", "%").partition(" && ")[2])
    assert f"--config={folder / 'other.toml'}" in words
    assert "--time-zone=UTC" in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at=02:30", "--date=2026-11-20"], "--date 2026-11-20 would be the same every night"),
        (["--at=02:30", "--from=2026-11-20"], "--from 2026-11-20 would be the same every night"),
        (["--at=25:00"], "--at 25:00 is not a time of day"),
        (["--times=0 3 * * 1-5"], "with --systemd, pass --at"),
        (["--at=02:30", "--time-zone=Berlin"], "--time-zone Berlin is"),
        (["--at=02:30", "--images=in/{day}"], "{day} is not a day"),
        (["--at=02:30", "--project=p"], "add --runner=DataflowRunner"),
        (["--at=02:30", "--colour=red"], "unknown option --colour"),
        (["--at=02:30", "--name=two words"], "--name two words: use up to 63"),
    ],
)
def test_what_could_not_run_is_refused(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["schedule", "print", "--systemd", *words]) == codes.WRONG_USE
    said, complaints = capsys.readouterr()
    assert message in complaints.splitlines()[-1]
    assert said == ""
