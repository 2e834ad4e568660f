"""The lock of an output on a disk, on gs:// and on s3://: one of several runs holds it, also after killed runs."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from gcs_server import Bucket, GcsServer
from google.cloud.storage.retry import DEFAULT_RETRY
from s3_server import S3Bucket

from runners.jobs import interrupts
from runners.lock import lock
from runners.lock.holder import Holder, current_process, is_gone
from transforms.errors import Locked, Unreadable, UsageError
from transforms.storage import files
from transforms.storage.gcs import GcsObjects


@pytest.fixture(params=["disk", "gs", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path / "out")
    bucket: Bucket | S3Bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return bucket.uri("out")


def holder(output: str) -> Holder:
    return Holder.from_json(files.read(f"{output}/lock.json")[0])


def put(output: str, **fields: object) -> None:
    files.write(f"{output}/lock.json", json.dumps(fields).encode())


@pytest.fixture
def expire(output: str, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Return a function that sets the time of the last heartbeat to 1970."""

    def set_time() -> None:
        if files.is_local(output):
            os.utime(f"{output}/lock.json", (0, 0))
        elif files.scheme(output) == "s3":
            s3_bucket: S3Bucket = request.getfixturevalue("s3_bucket")
            s3_bucket.key("out/lock.json").last_modified = datetime(1970, 1, 1, tzinfo=timezone.utc)
        else:
            bucket: Bucket = request.getfixturevalue("bucket")
            with bucket.gcs.alone():
                bucket.gcs.storage.objects[bucket.name]["out/lock.json"]["updated"] = "1970-01-01T00:00:00.000Z"

    return set_time


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_names_the_holder_and_is_removed_afterwards(output: str) -> None:
    stream = io.StringIO()
    with lock.hold(output, "beamsight run", stream, run_id="r1") as held:
        found = holder(output)
        assert (found.pid, found.command, found.run_id) == (os.getpid(), "beamsight run", "r1")
        with pytest.raises(Locked) as caught, lock.hold(output, "beamsight run", stream):
            pass
    message = str(caught.value)
    who = f"{found.user} (process {os.getpid()}, beamsight run, run r1)"
    assert message.startswith(f"the output has been locked by {who} since {found.since}; ")
    assert "its last heartbeat was 0 s ago" in message
    assert "the lock expires 10 min 00 s after its last heartbeat" in message
    assert f"delete {output}/lock.json" in message
    assert not files.exists(f"{output}/lock.json")
    assert held.previous is None
    assert not stream.getvalue()


def count_holders_of_eight(output: str, **options: Any) -> int:
    together, all_tried = threading.Barrier(8), threading.Barrier(8)

    def start(_: int) -> bool:
        together.wait()
        try:
            with lock.hold(output, "beamsight run", io.StringIO(), **options):
                all_tried.wait()
        except Locked:
            all_tried.wait()
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(start, range(8)))


def test_one_of_many_gets_the_lock(output: str) -> None:
    assert count_holders_of_eight(output) == 1


def test_one_of_many_takes_over_an_expired_lock(output: str, expire: Callable[[], None]) -> None:
    put(output, token="x", user="old@elsewhere", since="long ago")
    expire()
    assert count_holders_of_eight(output) == 1


def test_heartbeats_keep_the_lock(output: str, expire: Callable[[], None]) -> None:
    with lock.hold(output, "beamsight run", io.StringIO(), heartbeat=0.01) as held:
        expire()
        wait_until(lambda: files.written_at(f"{output}/lock.json") >= held.since)
        with pytest.raises(Locked), lock.hold(output, "beamsight run", io.StringIO()):
            pass


UNREADABLE = [b"", b"{", b"[]", b'{"user": 1}', b'{"user": "a@b", "pid": "1"}', b'{"user": "a@b", "job": {"id": 1}}']


@pytest.mark.parametrize("left", UNREADABLE)
def test_takes_over_an_unreadable_lock_when_it_has_expired(
    output: str, expire: Callable[[], None], left: bytes
) -> None:
    uri = f"{output}/lock.json"
    files.write(uri, left)
    with pytest.raises(Locked, match=f"{uri} is empty or damaged"), lock.hold(output, "it", io.StringIO()):
        pass
    expire()
    stream = io.StringIO()
    with lock.hold(output, "it", stream):
        assert f"took over the lock {uri}: it is empty or damaged, and was not renewed" in stream.getvalue()
        assert holder(output).pid == os.getpid()
    assert not files.exists(uri)


def test_takes_over_a_lock_without_heartbeats(output: str, expire: Callable[[], None]) -> None:
    files.write(f"{output}/lock.json", b'{"user": "old@elsewhere", "pid": 1, "new": 1}')
    with pytest.raises(Locked), lock.hold(output, "beamsight run", io.StringIO()):
        pass
    expire()
    stream = io.StringIO()
    with lock.hold(output, "beamsight run", stream) as held:
        assert held.previous is not None
        assert f"took over the lock from {held.previous}, which ended without releasing {output}\n" in stream.getvalue()
    assert not files.exists(f"{output}/lock.json")


HOLD = "import sys, io, time; from runners.lock import lock\nwith lock.hold(sys.argv[1], 'it', io.StringIO()):\n  {}"


def holding(output: str, what: str = "print(1, flush=True); time.sleep(60)") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD.format(what), output], stdout=subprocess.PIPE, text=True)


def test_takes_over_at_once_from_a_killed_process(output: str) -> None:
    with holding(output) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Locked, match=f"process {process.pid}"), lock.hold(output, "it", io.StringIO()):
            pass
        process.send_signal(signal.SIGKILL)
    if not sys.platform.startswith("linux"):
        pytest.skip("whether a process is gone is looked up in /proc")
    with lock.hold(output, "it", io.StringIO()) as held:
        assert held.previous is not None
        assert held.previous.pid == process.pid


def started(process: subprocess.Popen[str], output: str) -> Holder:
    """Return the holder when the process has the lock."""
    assert process.stdout is not None
    process.stdout.readline()
    return holder(output)


def test_a_process_that_cannot_be_seen_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mount option hidepid, /proc does not show the processes of other users."""
    output = str(tmp_path / "out")
    with holding(output) as process:
        other = started(process, output)
        monkeypatch.setattr("runners.lock.holder._PROC", tmp_path)
        assert not is_gone(other)
        process.kill()
        process.wait()
        assert is_gone(other)


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.lock.holder._PROC", tmp_path)
    mine = current_process("it", "r1")
    if not mine.machine:
        pytest.skip("whether a process is gone is looked up in /proc")
    other = dataclasses.replace(mine, pid=1, process="5")  # that of root
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            os._exit(int(is_gone(other)))
        finally:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lock_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # as on a disk that is full after 20 bytes
    try:
        with pytest.raises(Unreadable), lock.hold(str(tmp_path), "it", io.StringIO()):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [".lock.json.guard"]
    with lock.hold(str(tmp_path), "it", io.StringIO()) as held:
        assert held.previous is None


JOB = {"project": "p", "region": "r", "name": "n"}


def test_a_named_job_keeps_the_lock_unless_it_was_not_sent(output: str) -> None:
    with lock.hold(output, "it", io.StringIO()) as held:
        held.name_job(JOB)
    assert (holder(output).job, holder(output).is_pending) == ({**JOB, "state": "pending"}, True)
    files.delete(f"{output}/lock.json")
    with lock.hold(output, "it", io.StringIO()) as held:
        held.name_job(JOB)
        held.take_back()
    assert not files.exists(f"{output}/lock.json")


def test_takes_over_from_a_pending_job_that_does_not_run_when_the_lock_has_expired(
    output: str, expire: Callable[[], None]
) -> None:
    """The request to create the job may be on its way, so that Dataflow does not know the job yet."""
    with lock.hold(output, "it", io.StringIO()) as held:
        held.name_job(JOB)
    with pytest.raises(Locked), lock.hold(output, "it", io.StringIO(), still_runs=lambda _: False):
        pass
    expire()
    with pytest.raises(Locked), lock.hold(output, "it", io.StringIO(), still_runs=lambda _: True):
        pass
    with lock.hold(output, "it", io.StringIO(), still_runs=lambda _: False) as held:
        assert held.previous is not None


def test_a_lost_lock_sends_no_job(output: str) -> None:
    with lock.hold(output, "it", io.StringIO()) as held:
        files.delete(f"{output}/lock.json")
        with pytest.raises(Locked, match="was removed"):
            held.name_job(JOB)


def test_a_heartbeat_whose_answer_was_lost_does_not_hide_the_job(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[[str, bytes, str | None], str | None] = files.write_if

    def write_without_answer(uri: str, data: bytes, version: str | None) -> None:
        assert write(uri, data, version)
        raise Unreadable("no answer", retryable=True)

    with lock.hold(output, "it", io.StringIO()) as held:
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_if", write_without_answer)
            with pytest.raises(Unreadable):
                held.renew()
        held.hand_over(JOB)
    assert holder(output).job == JOB


def test_the_release_waits_for_no_heartbeat(gcs: GcsServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "JOIN_SECONDS", 0.1)
    hangs, released = threading.Event(), threading.Event()

    def hang(method: str, _: str) -> None:
        if method == "POST":
            hangs.set()
            assert released.wait(60)

    with lock.hold(bucket.uri("out"), "it", io.StringIO(), heartbeat=0.01):
        gcs.faults = hang
        assert hangs.wait(60)
    assert "out/lock.json" not in bucket.names()  # while the heartbeat still waits for its answer
    released.set()


def test_the_release_has_a_time_limit(gcs: GcsServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RELEASE_SECONDS", 0.1)
    end, stream = threading.Event(), io.StringIO()

    def hang(method: str, _: str) -> None:
        if method == "DELETE":
            end.wait(60)

    with lock.hold(bucket.uri("out"), "it", stream):
        gcs.faults = hang
    assert "could not remove" in stream.getvalue()
    assert "out/lock.json" in bucket.names()
    end.set()


def test_losing_the_lock_stops_the_work(output: str) -> None:
    def take() -> None:
        other, taken = json.dumps({"token": "other", "user": "other@elsewhere", "pid": 7}).encode(), None
        while taken is None:  # between two heartbeats
            uri = f"{output}/lock.json"
            taken = files.write_if(uri, other, files.read(uri)[1].version)

    thread = threading.Thread(target=take)

    def work() -> None:
        thread.start()
        time.sleep(30)

    with (
        pytest.raises(interrupts.Interrupted),
        interrupts.handle_signals(),
        lock.hold(output, "it", io.StringIO(), heartbeat=0.02, on_lost=interrupts.stop_work) as held,
    ):
        work()
    thread.join()
    assert held.lost == f"the lock {output}/lock.json was taken over by other@elsewhere (process 7)"
    assert holder(output).token == "other"


def test_a_removed_lock_is_lost(output: str) -> None:
    with lock.hold(output, "it", io.StringIO()) as held:
        files.delete(f"{output}/lock.json")
        held.renew()
        assert held.lost == f"the lock {output}/lock.json was removed"
    assert not files.exists(f"{output}/lock.json")


def test_a_failed_heartbeat_does_not_lose_the_lock(
    gcs: GcsServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(files.SYSTEMS, "gs", GcsObjects(DEFAULT_RETRY.with_timeout(0.1).with_delay(initial=0.01)))
    output, renew, failed = bucket.uri("out"), lock.Lock.renew, threading.Event()

    def renew_and_record(held: lock.Lock) -> None:
        try:
            renew(held)
        except Unreadable:
            failed.set()
            raise

    monkeypatch.setattr(lock.Lock, "renew", renew_and_record)
    with lock.hold(output, "it", io.StringIO(), heartbeat=0.01) as held:
        gcs.faults = lambda method, path: 503 if method == "POST" else None
        with pytest.raises(Unreadable):
            renew(held)
        assert failed.wait(30)  # in the thread that sends heartbeats
        version = files.stat(f"{output}/lock.json").version
        gcs.faults = None
        wait_until(lambda: files.stat(f"{output}/lock.json").version != version)
        assert held.lost is None
        with pytest.raises(Locked), lock.hold(output, "it", io.StringIO()):
            pass


def test_recognizes_its_own_write_when_the_answer_is_lost(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the request, so the client retries a write that has succeeded."""
    write: Callable[[str, bytes, str | None], str | None] = files.write_if

    def write_without_answer(uri: str, data: bytes, version: str | None) -> None:
        assert write(uri, data, version)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_if", write_without_answer)
        with lock.hold(output, "it", io.StringIO()) as held:
            held.renew()
            assert held.lost is None
            held.renew()
            assert held.lost is None
    assert not files.exists(f"{output}/lock.json")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (True, r"job j1\) since .*; try again when it has ended"),
        ("queued", "; the job is queued and has not started yet; try again when it has ended"),
        (None, "still runs. If it has ended, delete"),
    ],
)
def test_a_job_keeps_the_lock_while_it_runs(output: str, runs: bool | str | None, message: str) -> None:
    with lock.hold(output, "it", io.StringIO(), run_id="r1") as held:
        held.hand_over({"project": "p", "region": "r", "name": "n", "id": "j1"})
    with (
        pytest.raises(Locked, match=message),
        lock.hold(output, "it", io.StringIO(), expiry=-1, still_runs=lambda _: runs),
    ):
        pass
    lock.release(output, "another run")
    assert holder(output).job == {"project": "p", "region": "r", "name": "n", "id": "j1"}
    lock.release(output, "r1")
    assert not files.exists(f"{output}/lock.json")
    lock.release(output, "r1")


def test_takes_over_from_a_job_that_has_ended(output: str) -> None:
    with lock.hold(output, "it", io.StringIO()) as held:
        held.hand_over({"project": "p", "region": "r", "name": "n", "id": "j1"})
    asked: list[Holder] = []

    def still_runs(found: Holder) -> bool:
        asked.append(found)
        return False

    with lock.hold(output, "it", io.StringIO(), still_runs=still_runs) as held:
        assert held.previous is not None
    assert [found.job for found in asked] == [{"project": "p", "region": "r", "name": "n", "id": "j1"}]


def test_each_output_has_its_own_lock(tmp_path: Path) -> None:
    with lock.hold(str(tmp_path / "a"), "it", io.StringIO()), lock.hold(str(tmp_path / "b"), "it", io.StringIO()):
        pass


def test_an_output_that_is_a_file_is_not_locked_by_another_run(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with (
        pytest.raises(UsageError, match=r"cannot write .*/out/lock\.json"),
        lock.hold(str(tmp_path / "out"), "beamsight run", io.StringIO()),
    ):
        pass
    assert (tmp_path / "out").read_bytes() == b"a file"
