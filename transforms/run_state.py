"""What the threads of one run share in a process: counts, a request to stop, and the outages that they see.

Beam makes the objects of a pipeline anew for its workers, so they find each other by the id of the run. Two pipelines
in one process have different ids and share nothing.
"""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timezone

from transforms.counts import Sums
from transforms.errors import Stopped
from transforms.outage import Outage


class Stop:
    """A request to stop a run, made by a signal or a lost lock and checked before each image. Thread-safe."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reason = ""

    def request(self, reason: str) -> None:
        """Make each ``check`` of the run in this process raise ``Stopped``. The first reason is kept."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()

    def check(self) -> None:
        """Raise Stopped if a stop is requested."""
        if self._requested.is_set():
            raise Stopped(self._reason)


class RunState:
    """The state of one run in this process.

    Attributes:
        live: The current sums, for the progress.
        finished: The sums of finished units only. Their files are written, so they count even if the run fails.
        stop: Whether the run has to stop.
        outage: Whether a storage is down.
    """

    def __init__(self) -> None:
        self.live = Sums()
        self.finished = Sums()
        self.stop = Stop()
        self.outage = Outage()


# An entry stays after its run: threads of a stopped run may still ask whether they have to stop. No lock, because
# signal handlers read it.
_states: dict[str, RunState] = {}


def make_run_id(started: datetime | None = None) -> str:
    """Return a new id, which begins with the time of the start in UTC. None for now."""
    return f"{started or datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def of(run_id: str) -> RunState:
    """Return the state of a run in this process."""
    return _states.setdefault(run_id, RunState())


def stop_all(reason: str) -> None:
    """Stop all runs of this process, as a signal asks. Runs that begin later are not stopped."""
    for state in list(_states.values()):
        state.stop.request(reason)
