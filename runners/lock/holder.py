"""Who works on an output: what a lock says of its holder, and whether that process is still there."""

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

Job = Mapping[str, str]  # what finds a job of Dataflow again: project, region, name and, where it is known, id


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on an output. since, alive: by the holder's clock, so for people only.

    machine, process: tell whether a process of this machine is still there; empty where the system does not say. job:
    of Dataflow, which has taken over from the process that sent it.
    """

    token: str = ""
    user: str = "somebody unknown"
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
        """What stands in a lock; of one that cannot be read, an unknown holder."""
        with suppress(ValueError, TypeError, AttributeError):
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{key: value for key, value in json.loads(data).items() if key in known})
        return cls()

    def to_json(self) -> bytes:
        return (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode()

    def __str__(self) -> str:
        what = [f"process {self.pid}" if self.pid else "", self.command, f"run {self.run_id}" if self.run_id else ""]
        if self.job:
            what.append(f"job {self.job.get('id') or self.job.get('name')}")
        return f"{self.user} ({', '.join(filter(None, what))})"


def current_process(command: str, run_id: str) -> Holder:
    """The process that asks."""
    since, pid = now(), os.getpid()
    machine, process = _identity(pid)
    user = f"{_user()}@{platform.node()}"
    return Holder(secrets.token_hex(16), user, pid, machine, process, command, run_id, since, since)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return str(os.getuid())


def is_gone(other: Holder) -> bool:
    """Whether it was a process that this machine would show, and does not."""
    machine, process = _identity(other.pid)
    here = bool(machine) and other.machine == machine and other.user.endswith(f"@{platform.node()}")
    return here and process != other.process


def _identity(pid: int) -> tuple[str, str]:
    """Names for this machine since its start, as far as we see it, and for a process; empty where unknown."""
    try:
        machine = (
            f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
        )
    except OSError:
        return "", ""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return machine, ""
    return machine, "" if status[0] in "ZX" else status[19]  # when it was started, as numbers are used again


def now() -> str:
    """The time as a person reads it."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
