"""The holder of a lock: what the lock file says about it, and whether its process still runs."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import platform
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

Job = Mapping[str, str]  # project, region and name of a Dataflow job, and its id where it is known


@dataclass(frozen=True, slots=True)
class Holder:
    """The content of a lock file.

    machine, process: Identify a process on one machine; empty where the system does not provide them.
    since, alive: When the lock was taken, and the last heartbeat. Both are by the holder's clock, for people only.
    job: The Dataflow job that took the lock over from the process that submitted it.
    """

    token: str = ""
    user: str = "an unknown user"
    pid: int = 0
    machine: str = ""
    process: str = ""
    command: str = ""
    run_id: str = ""
    since: str = ""
    alive: str = ""
    job: Job | None = None

    @classmethod
    def from_json(cls, data: bytes) -> Holder:
        """Read the content of a lock file. An unreadable file yields an unknown holder."""
        with suppress(ValueError, TypeError, AttributeError):
            names = {field.name for field in dataclasses.fields(cls)}
            return cls(**{key: value for key, value in json.loads(data).items() if key in names})
        return cls()

    def to_json(self) -> bytes:
        return (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode()

    def __str__(self) -> str:
        parts = [f"process {self.pid}" if self.pid else "", self.command, f"run {self.run_id}" if self.run_id else ""]
        if self.job:
            parts.append(f"job {self.job.get('id') or self.job.get('name')}")
        return f"{self.user} ({', '.join(filter(None, parts))})"


def current_process(command: str, run_id: str) -> Holder:
    """Return this process as a holder with a new token."""
    since, pid = now(), os.getpid()
    machine, process = _identify(pid)
    user = f"{_user()}@{platform.node()}"
    return Holder(secrets.token_hex(16), user, pid, machine, process, command, run_id, since, since)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container, the user's number may have no name.
        return str(os.getuid())


def is_gone(other: Holder) -> bool:
    """Return whether the holder's process ran on this machine and has ended."""
    machine, process = _identify(other.pid)
    same_machine = bool(machine) and other.machine == machine and other.user.endswith(f"@{platform.node()}")
    return same_machine and process != other.process


def _identify(pid: int) -> tuple[str, str]:
    """Return names for this machine since its start and for a process; empty where they are unknown."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "", ""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return machine, ""
    # The start time tells two processes apart that had the same pid. Z and X are processes that have ended.
    return machine, "" if status[0] in "ZX" else status[19]


def now() -> str:
    """Return the current time for people to read."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
