"""A schedule on this machine: ``beamsight nightly`` in a crontab, or as a service and a timer of systemd."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runners.template import cron_fields
from runners.template.cron_fields import Times
from transforms.errors import UsageError

# Variables for credentials, settings and models. Neither cron nor systemd passes those of the shell to the run.
ENVIRONMENT_VARIABLES = ("BEAMSIGHT_CACHE", "CLOUDSDK_CONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT")


def find_program() -> tuple[str, ...]:
    """Return the command of this environment's beamsight, with absolute paths."""
    script = Path(sysconfig.get_path("scripts"), "beamsight")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "beamsight")


def read_environment() -> dict[str, str]:
    """Return the environment variables that the run needs."""
    return {name: os.environ[name] for name in ENVIRONMENT_VARIABLES if os.environ.get(name)}


@dataclass(frozen=True, slots=True)
class Timer:
    """A schedule on this machine.

    arguments: What follows ``beamsight`` on the command line.
    folder: Where the command runs, an absolute path.
    log: The log file, relative to ``folder``.
    """

    times: Times
    arguments: tuple[str, ...]
    folder: str
    log: str
    name: str = "beamsight"
    program: tuple[str, ...] = field(default_factory=find_program)
    environment: Mapping[str, str] = field(default_factory=read_environment)
    user: str = field(default_factory=getpass.getuser)

    def __post_init__(self) -> None:
        cron_fields.require_name(self.name)
        texts = (*self.command, self.folder, self.log, *self.environment.values())
        if broken := [text for text in texts if "\n" in text or "\0" in text]:
            raise UsageError(f"{broken[0]!r} has a line break, which neither crontab nor systemd supports; rename it")

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return (*self.program, *self.arguments)

    @property
    def log_file(self) -> str:
        """The absolute path of the log file."""
        return str(Path(self.folder, self.log))


def format_crontab(timer: Timer) -> str:
    """Return lines for ``crontab -e``.

    Only cronie supports CRON_TZ. Other crons use the time zone of the machine.

    Raises:
        UsageError: A text has a backslash.
    """
    if broken := [text for text in (*timer.command, timer.log_file) if "\\" in text]:
        raise UsageError(f"{broken[0]} has a backslash, which crons read in different ways; pass --systemd")
    command = f"cd {shlex.quote(timer.folder)} && {shlex.join(timer.command)} >> {shlex.quote(timer.log_file)} 2>&1"
    lines = [
        f"# {timer.name}: add these lines with `crontab -e`",
        "# Only cronie (Fedora, RHEL, Arch) supports CRON_TZ. The crons of Debian and Ubuntu use the time zone of the",
        "# machine: set it with `timedatectl set-timezone`, or pass --systemd.",
        f"CRON_TZ={timer.times.zone}",
        *(f'{name}="{value}"' for name, value in timer.environment.items()),
        f"{timer.times.fields} {command.replace('%', chr(92) + '%')}",  # cron ends the command at a bare %
    ]
    return "\n".join(lines)


def format_units(timer: Timer) -> dict[str, str]:
    """Return the two units by file name. Raises UsageError if the time is not the same every day."""
    if timer.times.at is None:
        raise UsageError(f"--times {timer.times.fields!r} needs --cron; with --systemd, pass --at, such as --at 02:30")
    # systemd starts no program with a quote or a backslash in its path.
    command = timer.command if not set("'\"\\") & {*timer.command[0]} else ("/usr/bin/env", *timer.command)
    environment = "".join(f"Environment={_quote(f'{key}={value}')}\n" for key, value in timer.environment.items())
    service = f"""\
[Unit]
Description={timer.name}: images that are new or have changed
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={timer.user}
WorkingDirectory={_escape(timer.folder)}
{environment}ExecStart=:{" ".join(map(_quote, command))}
StandardOutput=append:{_escape(timer.log_file)}
StandardError=append:{_escape(timer.log_file)}
"""
    timer_unit = f"""\
[Unit]
Description={timer.name}: {timer.times}

[Timer]
OnCalendar=*-*-* {timer.times.at}:00 {timer.times.zone}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{timer.name}.service": service, f"{timer.name}.timer": timer_unit}


def format_install_commands(units: Mapping[str, str]) -> str:
    """Return shell commands that write the units and start the timer."""
    parts = [f"sudo tee /etc/systemd/system/{name} > /dev/null << 'UNIT'\n{text}UNIT" for name, text in units.items()]
    timer = next(name for name in units if name.endswith(".timer"))
    return "\n".join([*parts, f"sudo systemctl daemon-reload && sudo systemctl enable --now {timer}"])


def _quote(text: str) -> str:
    """Quote an argument of a unit's command. The colon after ExecStart= turns variables off."""
    inner = _escape(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{inner}"'


def _escape(text: str) -> str:
    return text.replace("%", "%%")
