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

# Project, region and name of a Dataflow job, and its id where it is known. ``PENDING`` is added while the job is sent.
Job = Mapping[str, str]
PENDING = {"state": "pending"}

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """The content of a lock file.

    machine, process: Identify a process on one machine; empty where the system does not provide them.
    since, alive: When the lock was taken, and the last heartbeat. Both are by the holder's clock, for people only.
    job: The Dataflow job that took the lock over from the process that submitted it, or is about to.
    is_readable: False for a lock file that does not say who holds it. It is not part of the file.
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
    is_readable: bool = True

    @classmethod
    def from_json(cls, data: bytes) -> Holder:
        """Read the content of a lock file. Fields of a later version are ignored."""
        with suppress(ValueError, AttributeError):
            names = {field.name for field in dataclasses.fields(cls)}
            found = {key: value for key, value in json.loads(data).items() if key in names}
            job = found.get("job")
            texts = [value for key, value in found.items() if key not in ("pid", "job")] + list((job or {}).values())
            pid = found.get("pid", 0)
            if isinstance(pid, int) and 0 <= pid < 1 << 31 and all(isinstance(value, str) for value in texts):
                return cls(**found)
        return cls(is_readable=False)

    def to_json(self) -> bytes:
        fields = dataclasses.asdict(self)
        del fields["is_readable"]
        return (json.dumps(fields, indent=2) + "\n").encode()

    @property
    def is_pending(self) -> bool:
        """Whether the job may still be on its way to Dataflow, or was never sent."""
        return self.job is not None and PENDING.items() <= self.job.items()

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
    return Holder(secrets.token_hex(16), user, pid, machine, process or "", command, run_id, since, since)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container, the user's number may have no name.
        return str(os.getuid())


def is_gone(other: Holder) -> bool:
    """Return whether the holder's process ran on this machine and has ended.

    A process that cannot be identified counts as gone only if the system says that there is no process with its pid.
    """
    machine, process = _identify(other.pid)
    if not machine or other.machine != machine or not other.user.endswith(f"@{platform.node()}"):
        return False
    if process is None or not other.process:
        return not _exists(other.pid)
    return process != other.process


def _identify(pid: int) -> tuple[str, str | None]:
    """Return names for this machine since its start and for a process.

    The name of the machine is empty where it is unknown. That of the process is empty if it has ended, and None if it
    cannot be seen: it does not exist, or ``/proc`` hides the processes of other users.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "", None
    try:
        status = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return machine, None
    # The start time tells two processes apart that had the same pid. Z and X are processes that have ended.
    return machine, "" if status[0] in "ZX" else status[19]


def _exists(pid: int) -> bool:
    """Return whether a process exists, which may be one of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def now() -> str:
    """Return the current time for people to read."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
