"""One run at a time: ``OUTPUT/lock.json`` says who works on the tables, and shows a sign of life while they do.

It is created where there is none, and changed only in the version that was read, so that of many who try at once one
succeeds: on gs:// by a condition on the generation, on a disk by an exclusive create and a lock of the kernel. Where
neither is to be had (s3://, azfs://, hdfs://) two who start in the same moment may both go on.
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
from transforms.errors import BeamsightError, Locked, NotFound
from transforms.storage import files
from transforms.tables import layout

HEARTBEAT_SECONDS = 60.0
EXPIRY_SECONDS = 600.0  # after the last heartbeat, another run may take the lock over

StillRuns = Callable[[Holder], bool | None]  # of a holder with a job; None where that cannot be told


class Lock:
    """An output that is ours until it is let go, handed over, or ``lost`` to another.

    previous: The holder that never released the lock, for example a killed run.
    since: When the lock was taken, by the clock of the storage.
    """

    def __init__(self, uri: str, mine: Holder, version: str, since: datetime, previous: Holder | None) -> None:
        self.previous = previous
        self.since = since
        self._uri, self._holder, self._version = uri, mine, version
        self._changing = threading.Lock()
        self._ours = True
        self._lost: str | None = None

    @property
    def lost(self) -> str | None:
        """What became of it, once another has taken it."""
        return self._lost

    def hand_over(self, job: Job) -> None:
        """Leave it to a job: it is kept without signs of life for as long as that runs, and let go by ``release``."""
        self._change(job=job)
        self._ours = False

    def renew(self) -> None:
        """Show a sign of life. Raises FetchError or UsageError where the storage does not take it."""
        self._change()

    def _change(self, **changed: object) -> None:
        with self._changing:
            if not self._ours or self._lost:
                return
            self._holder = dataclasses.replace(self._holder, alive=holder.now(), **changed)  # type: ignore[arg-type]
            version = files.write_if(self._uri, self._holder.to_json(), self._version)
            if version is None:  # or a first try was heard, and its answer was not
                found, version = _read(self._uri)
                if found is None or found.token != self._holder.token:
                    self._lost = f"the lock {self._uri} was " + (f"taken over by {found}" if found else "removed")
                    return
            self._version = version

    def _release(self) -> None:
        with self._changing:
            if self._ours and not self._lost:
                self._ours = False
                files.delete_if(self._uri, self._version)


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
    """Have the tables to oneself for as long as the ``with`` block lasts. Raises Locked when another has them.

    command: what holds it, in words without secrets, such as ``beamsight run``. run_id: of the first run, where it is
    known by then; ``Lock.name`` tells of others. A lock is taken over, and ``stream`` is
    told so, when its holder is gone: its process, where that was one of this machine, its job, or, for any other,
    every sign of life for ``expiry`` seconds by the clock of the storage. One that is lost meanwhile ends the work of
    this process as a signal does, with ``Lock.lost`` set.
    """
    uri = layout.lock(output)
    if not files.has_conditions(uri):
        stream.write(f"beamsight: {files.scheme(uri)}:// has no safe lock; start no two runs in the same moment\n")
    held = _taken(uri, holder.current_process(command, run_id), still_runs, expiry)
    if held.previous is not None:
        stream.write(f"beamsight: took over from {held.previous}, which has ended without letting go of {output}\n")
        stream.flush()
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(held, ended, heartbeat, on_lost), name="lock", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join(1.0)  # one that waits for the storage finds the lock gone
        try:
            held._release()
        except BeamsightError as error:
            stream.write(f"beamsight: {uri} is still there ({error}); it counts no more in {duration(expiry)}\n")


def release(output: str, run_id: str) -> None:
    """Let go what was handed over to the job of this run: done by the job itself, or by whoever sees it end."""
    found, version = _read(layout.lock(output))
    if found is not None and found.run_id == run_id:
        files.delete_if(layout.lock(output), version)


def _keep(held: Lock, ended: threading.Event, heartbeat: float, on_lost: Callable[[str], None]) -> None:
    while not ended.wait(heartbeat):
        with suppress(Exception):  # whatever it was may pass; a thread that died would lose the lock in silence
            held.renew()
        if held.lost:
            if not ended.is_set():
                on_lost(held.lost)
            return


def _taken(uri: str, mine: Holder, still_runs: StillRuns, expiry: float) -> Lock:
    for _ in range(5):
        version = files.write_if(uri, mine.to_json(), None)
        if version is not None:
            return Lock(uri, mine, version, files.written_at(uri), None)
        other, there = _read(uri)
        if other is None:
            continue  # let go in between
        if other.token == mine.token:  # it was written, and the answer was lost
            return Lock(uri, mine, there, files.written_at(uri), None)
        _require_gone(uri, other, still_runs, expiry)
        version = files.write_if(uri, mine.to_json(), there)
        if version is not None:
            return Lock(uri, mine, version, files.written_at(uri), other)
    raise Locked(f"others take and leave {uri} in turn; start again")


def _require_gone(uri: str, other: Holder, still_runs: StillRuns, expiry: float) -> None:
    """Raises Locked where another is at work, or may be."""
    at_work = f"{other} works on it since {other.since or 'some time'}"
    if other.job is not None:
        running = still_runs(other)
        if running is None:
            raise Locked(f"{at_work}; whether it still runs cannot be asked from here. If not, remove {uri}")
        if running:
            raise Locked(f"{at_work}; start again when it has ended")
    elif not holder.is_gone(other):
        silent = _silence(uri)
        if silent <= expiry:
            raise Locked(
                f"{at_work}, with a sign of life {duration(silent)} ago; start again when it has ended. One that was "
                f"killed counts no more {duration(expiry)} after its last sign, or once {uri} is removed"
            )


def _silence(uri: str) -> float:
    """Seconds since a file was written, by the clock of the storage, which is asked by writing another."""
    probe = f"{uri.removesuffix('.json')}-clock-{secrets.token_hex(8)}.tmp"
    files.write(probe, b"written by beamsight to see what time it is; may be removed")
    try:
        return (files.written_at(probe) - files.written_at(uri)).total_seconds()
    except NotFound:  # let go in between: the next look will tell
        return float("inf")
    finally:
        files.delete(probe)


def _read(uri: str) -> tuple[Holder | None, str]:
    try:
        data, stat = files.read(uri)
    except NotFound:
        return None, ""
    return Holder.from_json(data), stat.version
