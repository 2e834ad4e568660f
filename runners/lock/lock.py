"""The lock of an output: ``OUTPUT/lock.json`` names the run that writes the tables. One run at a time holds it.

The file is created only if there is none, and it is replaced only in the version that was read. Of several runs that
try at the same time, one succeeds. On gs:// and s3:// this is a condition on the object's generation or ETag. On a
disk it is an exclusive create and a lock of the kernel. Other storage (azfs://, hdfs://) offers neither, so two runs
that start at the same moment may both continue.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TextIO

from beamsight.text import duration
from runners.lock import holder
from runners.lock.holder import Holder, Job
from transforms import time_limit
from transforms.errors import BeamsightError, Locked, NotFound
from transforms.storage import files
from transforms.tables import layout

HEARTBEAT_SECONDS = 60.0
EXPIRY_SECONDS = 600.0  # after the last heartbeat, another run may take the lock over
RELEASE_SECONDS = 5.0  # for the release, also when the storage does not answer
JOIN_SECONDS = 1.0  # for a heartbeat in progress

_ATTEMPTS = 5

# Whether the holder's job still runs; None if nobody can tell. A text is the state of a job that has not started yet.
StillRuns = Callable[[Holder], bool | str | None]


class Lock:
    """A lock that this process holds until it releases it, hands it over to a job, or loses it.

    previous: The holder that never released the lock, for example a killed run.
    since: When the lock was taken, by the clock of the storage.
    """

    def __init__(self, uri: str, mine: Holder, version: str, since: datetime, previous: Holder | None) -> None:
        self.previous = previous
        self.since = since
        self._uri, self._holder, self._version = uri, mine, version
        self._mutex = threading.Lock()
        self._is_held, self._is_taken_back = True, False
        self._lost: str | None = None

    @property
    def lost(self) -> str | None:
        """How the lock was lost, or None while this process still holds it."""
        return self._lost

    def name_job(self, job: Job) -> None:
        """Name the job that is about to be sent, before it is sent.

        From then on, the end of the block does not release the lock. Another run takes it over when Dataflow has no
        such job and the heartbeats have ended.

        Raises:
            Locked: The lock was lost.
            FetchError, UsageError: The storage refuses the write.
        """
        self._update(job={**job, **holder.PENDING})
        if self._lost:
            raise Locked(self._lost)

    def take_back(self) -> None:
        """Let the end of the block release the lock all the same, because no job was sent and none will be."""
        self._is_taken_back = True

    @property
    def token(self) -> str:
        """What identifies this lock in the lock file."""
        return self._holder.token

    def hand_over(self, job: Job) -> None:
        """Hand the lock over to a job. It needs no heartbeats while that job runs; ``release`` ends it.

        Raises:
            FetchError, UsageError: The storage refuses the write. A job that ``name_job`` named keeps the lock.
        """
        self._update(job=job)
        self._is_held = False

    def renew(self) -> None:
        """Write a heartbeat. Raises FetchError or UsageError if the storage refuses the write."""
        self._update()

    def _update(self, **changes: object) -> None:
        with self._mutex:
            if not self._is_held or self._lost:
                return
            new = dataclasses.replace(self._holder, alive=holder.now(), **changes)  # type: ignore[arg-type]
            for _ in range(_ATTEMPTS):
                version = files.write_if(self._uri, new.to_json(), self._version)
                current: Holder | None = new
                if version is None:  # The lock is lost, or an earlier write succeeded and its answer did not arrive.
                    current, version = _read(self._uri)
                if current is None or current.token != self._holder.token:
                    change = f"taken over by {current}" if current else "removed"
                    self._lost = f"the lock {self._uri} was {change}"
                    return
                self._version = version
                if current == new:
                    self._holder = new
                    return

    def _release(self) -> None:
        """Remove the lock file. Wait for no heartbeat: one that still hangs then finds the lock released."""
        if not self._is_held or self._lost or (self._holder.job is not None and not self._is_taken_back):
            return
        self._is_held = False
        if not files.delete_if(self._uri, self._version):  # The answer to the last heartbeat may not have arrived.
            current, version = _read(self._uri)
            if current is not None and current.token == self._holder.token:
                files.delete_if(self._uri, version)


@contextmanager
def hold(
    output: str,
    command: str,
    stream: TextIO,
    *,
    run_id: str = "",
    still_runs: StillRuns = lambda _: None,
    on_lost: Callable[[str], None] = lambda _: None,
    heartbeat: float = HEARTBEAT_SECONDS,
    expiry: float = EXPIRY_SECONDS,
) -> Iterator[Lock]:
    """Hold the lock of an output during a ``with`` block.

    The lock of another holder is taken over in three cases: the holder's process ran on this machine and has ended,
    the holder's job has ended, or the last heartbeat is more than ``expiry`` seconds old by the clock of the storage.

    Args:
        output: The folder of the tables.
        command: What holds the lock, without secrets, such as ``beamsight run``.
        stream: Receives a message when the lock is taken over from another holder.
        run_id: The id of the run.
        still_runs: Tells whether the job of another holder still runs.
        on_lost: Called with the reason, from another thread, when this process loses the lock. ``Lock.lost`` is set.
        heartbeat: Seconds between heartbeats.
        expiry: Seconds after the last heartbeat until the lock expires.

    Raises:
        Locked: Another run holds the lock.
    """
    uri = layout.lock(output)
    if not files.has_conditions(uri):
        stream.write(
            f"beamsight: {files.scheme(uri)}:// has no conditional writes, so the lock cannot stop two runs that "
            "start at the same moment; start one run at a time\n"
        )
    held = _acquire(uri, holder.current_process(command, run_id), still_runs, expiry)
    if (previous := held.previous) is not None:
        why = f"from {previous}, which ended without releasing {output}"
        if not previous.is_readable:
            why = f"{uri}: it is empty or damaged, and was not renewed for {duration(expiry)}"
        stream.write(f"beamsight: took over the lock {why}\n")
        stream.flush()
    ended = threading.Event()
    thread = threading.Thread(target=_send_heartbeats, args=(held, ended, heartbeat, on_lost), name="lock", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join(JOIN_SECONDS)
        try:
            time_limit.call(held._release, RELEASE_SECONDS)
        except BeamsightError as error:
            stream.write(f"beamsight: could not remove {uri} ({error}); the lock expires in {duration(expiry)}\n")


def release(output: str, run_id: str) -> None:
    """Release the lock that was handed over to the job of this run. Do nothing if another run holds it."""
    current, version = _read(layout.lock(output))
    if current is not None and current.run_id == run_id:
        files.delete_if(layout.lock(output), version)


def _send_heartbeats(held: Lock, ended: threading.Event, heartbeat: float, on_lost: Callable[[str], None]) -> None:
    while not ended.wait(heartbeat):
        with suppress(Exception):  # The error may be transient. If this thread died, the lock would expire unnoticed.
            held.renew()
        if held.lost:
            if not ended.is_set():
                on_lost(held.lost)
            return


def _acquire(uri: str, mine: Holder, still_runs: StillRuns, expiry: float) -> Lock:
    for _ in range(_ATTEMPTS):
        version = files.write_if(uri, mine.to_json(), None)
        if version is not None:
            return Lock(uri, mine, version, files.written_at(uri), None)
        other, other_version = _read(uri)
        if other is None:
            continue  # The other run released the lock in the meantime.
        if other.token == mine.token:  # Our write succeeded, and its answer did not arrive.
            return Lock(uri, mine, other_version, files.written_at(uri), None)
        _require_expired(uri, other, still_runs, expiry)
        version = files.write_if(uri, mine.to_json(), other_version)
        if version is not None:
            return Lock(uri, mine, version, files.written_at(uri), other)
    raise Locked(f"could not take the lock {uri} in {_ATTEMPTS} attempts, because other runs keep taking it; try again")


def _require_expired(uri: str, other: Holder, still_runs: StillRuns, expiry: float) -> None:
    """Raise Locked unless the other holder has ended or its lock has expired."""
    held = f"the output has been locked by {other} since {other.since or 'an unknown time'}"
    if not other.is_readable:
        held = f"the output is locked, but {uri} is empty or damaged and does not say by whom"
    if other.job is not None:
        running = still_runs(other)
        if running is None:
            raise Locked(f"{held}; cannot check whether this job still runs. If it has ended, delete {uri}")
        if running:
            state = f"; the job is {running} and has not started yet" if isinstance(running, str) else ""
            raise Locked(f"{held}{state}; try again when it has ended")
    if other.is_pending or (other.job is None and not holder.is_gone(other)):
        # A pending job may be on its way to Dataflow, even if its process has ended.
        age = _heartbeat_age(uri)
        if age <= expiry:
            raise Locked(
                f"{held}; its last heartbeat was {duration(age)} ago. Try again when it has ended. If it was killed, "
                f"the lock expires {duration(expiry)} after its last heartbeat, or delete {uri} now"
            )


def _heartbeat_age(uri: str) -> float:
    """Return the seconds since the lock was written, by the clock of the storage. A second file shows its time."""
    probe = f"{uri.removesuffix('.json')}-clock-{secrets.token_hex(8)}.tmp"
    files.write(probe, b"beamsight wrote this file to read the clock of the storage; it can be deleted")
    try:
        return (files.written_at(probe) - files.written_at(uri)).total_seconds()
    except NotFound:  # The lock was released in the meantime, which the next attempt finds.
        return float("inf")
    finally:
        files.delete(probe)


def _read(uri: str) -> tuple[Holder | None, str]:
    try:
        data, stat = files.read(uri)
    except NotFound:
        return None, ""
    return Holder.from_json(data), stat.version
