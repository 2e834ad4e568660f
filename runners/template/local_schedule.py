"""A schedule on one machine: ``beamsight nightly`` as a line for crontab, or as a service and a timer of systemd."""

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

# What the run finds its credentials, its settings and its models by. Neither cron nor systemd hands on the shell's.
ENVIRONMENT_VARIABLES = ("BEAMSIGHT_CACHE", "CLOUDSDK_CONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT")


def find_program() -> tuple[str, ...]:
    """How this environment's beamsight is called, by absolute paths."""
    script = Path(sysconfig.get_path("scripts"), "beamsight")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "beamsight")


def read_environment() -> dict[str, str]:
    """What of the environment the run needs."""
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
        every = (*self.command, self.folder, self.log, *self.environment.values())
        if broken := [text for text in every if "\n" in text or "\0" in text]:
            raise UsageError(f"{broken[0]!r} has a line break, which neither crontab nor systemd can take; rename it")

    @property
    def command(self) -> tuple[str, ...]:
        """Program and words."""
        return (*self.program, *self.arguments)

    @property
    def log_file(self) -> str:
        """The log as an absolute path."""
        return str(Path(self.folder, self.log))


def format_crontab(timer: Timer) -> str:
    """Lines for ``crontab -e``.

    Only cronie knows CRON_TZ; the other crons take the machine's own zone whatever it says. Raises UsageError.
    """
    if broken := [text for text in (*timer.command, timer.log_file) if "\\" in text]:
        raise UsageError(f"{broken[0]} has a backslash, which one cron reads otherwise than another; take --systemd")
    command = f"cd {shlex.quote(timer.folder)} && {shlex.join(timer.command)} >> {shlex.quote(timer.log_file)} 2>&1"
    lines = [
        f"# {timer.name}: add these lines with `crontab -e`",
        "# CRON_TZ is known to cronie (Fedora, RHEL, Arch). The crons of Debian and Ubuntu go by the machine's zone:",
        "# set that (timedatectl set-timezone), or take --systemd.",
        f"CRON_TZ={timer.times.zone}",
        *(f'{name}="{value}"' for name, value in timer.environment.items()),
        f"{timer.times.fields} {command.replace('%', chr(92) + '%')}",  # cron would break the line at a bare %
    ]
    return "\n".join(lines)


def format_units(timer: Timer) -> dict[str, str]:
    """The two units by their file names. Raises UsageError for times that are not the same on all days."""
    if timer.times.at is None:
        raise UsageError(f"--times {timer.times.fields!r} is cron's way; with --systemd say --at, such as --at 02:30")
    # systemd itself starts no program with a quote in its path.
    command = timer.command if not set("'\"\\") & {*timer.command[0]} else ("/usr/bin/env", *timer.command)
    environment = "".join(f"Environment={_word(f'{key}={value}')}\n" for key, value in timer.environment.items())
    service = f"""\
[Unit]
Description={timer.name}: images that are new or have changed
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={timer.user}
WorkingDirectory={_escaped(timer.folder)}
{environment}ExecStart=:{" ".join(map(_word, command))}
StandardOutput=append:{_escaped(timer.log_file)}
StandardError=append:{_escaped(timer.log_file)}
"""
    clock = f"""\
[Unit]
Description={timer.name}: {timer.times}

[Timer]
OnCalendar=*-*-* {timer.times.at}:00 {timer.times.zone}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{timer.name}.service": service, f"{timer.name}.timer": clock}


def format_install_commands(units: Mapping[str, str]) -> str:
    """Units as shell commands that write them, and start the timer."""
    parts = [f"sudo tee /etc/systemd/system/{name} > /dev/null << 'UNIT'\n{text}UNIT" for name, text in units.items()]
    timer = next(name for name in units if name.endswith(".timer"))
    return "\n".join([*parts, f"sudo systemctl daemon-reload && sudo systemctl enable --now {timer}"])


def _word(text: str) -> str:
    """One word of a command line in a unit. Nothing in it stands for a variable, as ExecStart has a colon."""
    inner = _escaped(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{inner}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
