"""GcsObjects against a server on 127.0.0.1: what is asked of it, and what becomes of each answer."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from faults import shower
from gcs_server import Bucket
from google.api_core import retry as retries
from google.cloud.storage.retry import DEFAULT_RETRY

from transforms.errors import Changed, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage import files, gcs_client
from transforms.storage.base import KeyRange, Stat
from transforms.storage.gcs import GcsObjects

QUICK: retries.Retry = DEFAULT_RETRY.with_timeout(1.0).with_delay(initial=0.01, maximum=0.05)
objects = GcsObjects(QUICK)

NAMES = [
    "a.jpg",
    "a/b c.jpg",
    "a#b.jpg",
    "a?b=c&d.jpg",
    "a%20b%2Fc.jpg",
    "ä/猫🐈.jpg",
    "a\nb.jpg",
    "a+b&c.jpg",
    "[a]*.jpg",
    "a:b\\c.jpg",
    "o/alt=media",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(bucket: Bucket, name: str) -> None:
    uri = bucket.uri(name)
    generation = bucket.put(name, b"put")
    stat = Stat(uri, 3, generation)
    assert objects.stat(uri) == stat
    assert objects.read(uri) == objects.read(uri, generation, 3, size=3) == (b"put", stat)
    assert list(objects.walk(bucket.uri(""))) == [stat]
    with objects.open(uri)[0] as file:
        assert file.read() == b"put"
    objects.write(uri, b"written")
    assert bucket.get(name) == b"written"
    assert bucket.names() == [name]
    objects.delete(uri)
    assert bucket.names() == []


def test_no_more_requests_than_needed(bucket: Bucket) -> None:
    uri, generation = bucket.uri("a"), bucket.put("a", b"abc")

    def asked(*args: Any, **options: Any) -> list[str]:
        bucket.gcs.requests.clear()
        assert objects.read(uri, *args, **options)[0] == b"abc"
        return ["media" if "alt=media" in path else "metadata" for _, path in bucket.gcs.requests]

    assert asked(generation, 10, size=3) == ["media"]
    assert asked(generation) == ["media"]
    assert asked(generation, 10) == ["metadata", "media"]
    assert asked(None, 10, size=3) == ["metadata", "media"]
    assert asked() == ["metadata", "media"]
    assert f"generation={generation}" in bucket.gcs.media()[0]


def test_the_limit_holds_before_the_download(bucket: Bucket) -> None:
    uri, generation = bucket.uri("a"), bucket.put("a", bytes(1_001))
    for known in ({}, {"version": generation}, {"version": generation, "size": 1_001}, {"size": 5}):
        with pytest.raises(TooManyBytes, match=r"1,001 bytes.*--max-bytes 1,000") as caught:
            objects.read(uri, max_bytes=1_000, **known)
        assert caught.value.version == generation
    assert bucket.gcs.media() == []
    with pytest.raises(TooManyBytes):  # the size was a lie
        objects.read(uri, generation, 1_000, size=5)
    assert objects.read(uri, max_bytes=1_001)[0] == bytes(1_001)


def test_what_was_overwritten_is_changed(bucket: Bucket) -> None:
    uri, old = bucket.uri("a"), bucket.put("a", b"old")
    new = bucket.put("a", b"new!")
    for options in ({}, {"max_bytes": 10}, {"max_bytes": 10, "size": 3}):
        with pytest.raises(Changed, match=f"version {old} was listed, the current version is {new}") as caught:
            objects.read(uri, old, **options)
        assert caught.value.retryable
    assert objects.read(uri)[1].version == new
    with pytest.raises(Changed, match="not a generation"):
        objects.read(uri, "an-etag")


def test_a_download_is_of_the_generation_that_was_looked_up(bucket: Bucket) -> None:
    uri, old = bucket.uri("a"), bucket.put("a", b"old")
    asked = count()

    def overwrite_after_the_first_answer(method: str, path: str) -> None:
        if next(asked) == 1:
            bucket.put("a", b"new!")

    bucket.gcs.faults = overwrite_after_the_first_answer
    with pytest.raises(Changed, match=old):
        objects.read(uri)


def test_what_is_overwritten_while_it_is_read_is_read_again_where_any_version_will_do(bucket: Bucket) -> None:
    uri, old = bucket.uri("a"), bucket.put("a", b"old")

    def overwrite(method: str, path: str) -> None:
        if "alt=media" in path:
            bucket.put("a", b"new!")

    bucket.gcs.faults = overwrite
    with pytest.raises(Changed, match=old):
        files.read(uri, old)
    with pytest.raises(Changed):
        files.read(uri)
    asked = count()
    bucket.gcs.faults = lambda method, path: overwrite(method, path) if next(asked) < 2 else None
    assert files.read(uri)[0] == b"new!"


def test_a_stream_is_of_one_generation(bucket: Bucket) -> None:
    uri, data = bucket.uri("a"), os.urandom(3 << 20)
    bucket.put("a", data)
    with objects.open(uri)[0] as file:
        start = file.read(10)
        bucket.put("a", b"new")
        assert start + file.read() == data


def test_what_is_overwritten_while_it_is_copied_is_copied_again(bucket: Bucket) -> None:
    uri, _ = bucket.uri("a"), bucket.put("a", b"old")
    left = iter(["new!"])

    def overwrite(method: str, path: str) -> None:
        if "alt=media" in path and (data := next(left, None)):
            bucket.put("a", data.encode())

    bucket.gcs.faults = overwrite
    with files.open(uri) as file:
        assert file.read() == b"new!"


def test_what_is_not_there_is_not_found(bucket: Bucket) -> None:
    uri, generation = bucket.uri("a"), bucket.put("a", b"abc")
    bucket.delete("a")
    nowhere = "gs://no-such-bucket-here/a"
    for asked in (objects.stat, objects.read, objects.open, lambda uri: objects.read(uri, generation, 9, size=3)):
        with pytest.raises(NotFound, match=uri) as caught:
            asked(uri)
        assert not caught.value.retryable
        with pytest.raises(NotFound, match="no bucket gs://no-such-bucket-here"):
            asked(nowhere)
    with pytest.raises(NotFound, match="no bucket gs://no-such-bucket-here"):
        list(objects.walk("gs://no-such-bucket-here/x/"))
    with pytest.raises(UsageError, match=r"cannot write.*no bucket gs://no-such-bucket-here"):
        objects.write(nowhere, b"")
    objects.delete(uri)
    objects.delete(nowhere)


@pytest.mark.parametrize("uri", ["gs://bucket-_!/a", "gs://bucket/\udcff.jpg"])
def test_what_cannot_be_is_not_found(bucket: Bucket, uri: str) -> None:
    with pytest.raises(NotFound):
        objects.read(uri)


@pytest.mark.parametrize("uri", ["gs://bucket", "gs://bucket/", "gs://", "gs:///a"])
def test_what_names_no_object_is_a_usage_error(bucket: Bucket, uri: str) -> None:
    for asked in (objects.read, objects.stat, objects.open, objects.delete, lambda uri: objects.write(uri, b"")):
        with pytest.raises(UsageError, match=uri):
            asked(uri)
    assert bucket.gcs.requests == []


def test_no_permission_names_the_role(bucket: Bucket) -> None:
    bucket.put("a", b"")
    bucket.gcs.faults = lambda *_: 403
    for asked in (objects.read, objects.stat, objects.open, lambda _: list(objects.walk(bucket.uri("")))):
        with pytest.raises(Unreadable, match=r"roles/storage\.objectViewer") as caught:
            asked(bucket.uri("a"))
        assert caught.value.retryable  # mended without a change of the image
    for refused in (objects.delete, lambda uri: objects.write(uri, b"")):
        with pytest.raises(UsageError, match=r"roles/storage\.objectUser"):
            refused(bucket.uri("a"))


@pytest.mark.parametrize("fault", [429, 500, 503, 408, "drop"])
def test_transient_errors_are_retried(bucket: Bucket, fault: int | str) -> None:
    left = iter([fault] * 3)
    generation = bucket.put("a", b"abc")
    bucket.gcs.faults = lambda *_: next(left, None)
    assert objects.read(bucket.uri("a"), generation, 9, size=3)[0] == b"abc"
    assert len(bucket.gcs.media()) == 4
    left = iter([fault] * 3)
    objects.write(bucket.uri("b"), b"def")  # without a precondition, which is what the library would wait for
    assert bucket.get("b") == b"def"
    left = iter([fault] * 3)
    assert [found.size for found in objects.walk(bucket.uri(""))] == [3, 3]


@pytest.mark.parametrize("fault", [429, 503, "drop"])
def test_an_error_after_all_retries_is_retryable(bucket: Bucket, fault: int | str) -> None:
    bucket.put("a", b"abc")
    bucket.gcs.faults = lambda *_: fault
    hasty = GcsObjects(QUICK.with_timeout(0.2))
    for asked in (hasty.read, lambda uri: list(hasty.walk(bucket.uri(""))), lambda uri: hasty.write(uri, b"")):
        with pytest.raises(Unreadable) as caught:
            asked(bucket.uri("a"))
        assert caught.value.retryable


def test_a_bad_request_is_not_retried(bucket: Bucket) -> None:
    bucket.gcs.faults = lambda *_: 400
    with pytest.raises(Unreadable) as caught:
        objects.read(bucket.uri("a"))
    assert not caught.value.retryable
    assert len(bucket.gcs.requests) == 1


WRONG_BYTES = ["short", "corrupt", "corrupt start", "short and corrupt"]


@pytest.mark.parametrize("fault", WRONG_BYTES)
def test_bytes_that_are_not_those_that_were_stored_are_asked_for_again_and_then_refused(
    bucket: Bucket, fault: str
) -> None:
    uri, data = bucket.uri("a"), os.urandom(1_001)
    generation = bucket.put("a", data)
    left = iter([fault] * 3)
    bucket.gcs.faults = lambda _, path: next(left, None) if "alt=media" in path else None
    assert objects.read(uri, generation, 2_000, size=1_001)[0] == data
    assert len(bucket.gcs.requests) == 4
    left = iter([fault] * 3)
    with objects.open(uri)[0] as file:
        assert file.read() == data
    bucket.gcs.faults = lambda _, path: fault if "alt=media" in path else None
    bucket.gcs.requests.clear()
    with pytest.raises(Unreadable, match=f"(?s){uri}.*(checksum|bytes arrived)") as caught:
        objects.read(uri, generation)
    assert caught.value.retryable
    assert len(bucket.gcs.requests) == 4
    with pytest.raises(Unreadable, match=f"(?s){uri}.*(checksum|bytes arrived)") as caught:
        objects.open(uri)
    assert caught.value.retryable


@pytest.mark.parametrize("faults", [["short and corrupt"], ["cut", "cut"], ["cut", "short", "corrupt"], ["reset"]])
def test_a_download_that_is_cut_is_begun_again_and_checked_as_a_whole(bucket: Bucket, faults: list[str]) -> None:
    uri, data = bucket.uri("a"), os.urandom(100_000)
    generation = bucket.put("a", data)
    left = iter(faults)
    bucket.gcs.faults = lambda *_: next(left, None)
    assert objects.read(uri, generation)[0] == data
    assert len(bucket.gcs.media()) == len(faults) + 1


def test_a_checksum_that_does_not_come_with_the_bytes_is_asked_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, generation = bucket.uri("a"), bucket.put("a", b"abc")
    monkeypatch.setattr(bucket.gcs, "without_hashes", True)
    assert objects.read(uri, generation)[0] == b"abc"
    assert len(bucket.gcs.requests) == 2
    bucket.gcs.faults = lambda _, path: "corrupt" if "alt=media" in path else None
    with pytest.raises(Unreadable, match="checksum"):
        objects.read(uri, generation)


def test_nothing_of_a_stream_is_handed_out_before_all_of_it_is_verified(bucket: Bucket) -> None:
    """The last piece is wrong, once and then every time; the pieces before it are right."""
    uri, data = bucket.uri("a"), os.urandom((17 << 20) + 17)
    bucket.put("a", data)
    pieces = count()
    bucket.gcs.faults = lambda _, path: "corrupt" if "alt=media" in path and next(pieces) == 2 else None
    with objects.open(uri)[0] as file:
        assert file.read() == data
    assert len(bucket.gcs.media()) == 6
    pieces = count()
    bucket.gcs.faults = lambda _, path: "corrupt" if "alt=media" in path and next(pieces) % 3 == 2 else None
    with pytest.raises(Unreadable, match="checksum") as caught:
        objects.open(uri)
    assert caught.value.retryable
    assert next(pieces) == 12


@pytest.mark.parametrize("fault", ["short", "corrupt", "corrupt start", "cut", "reset"])
def test_answers_that_are_not_whole_json_are_asked_for_again(bucket: Bucket, fault: str) -> None:
    generation = bucket.put("a", b"abc")
    uri, stat = bucket.uri("a"), Stat(bucket.uri("a"), 3, generation)
    left = iter([fault] * 2)
    bucket.gcs.faults = lambda *_: next(left, None)
    assert objects.stat(uri) == stat
    left = iter([fault] * 2)
    assert list(objects.walk(bucket.uri(""))) == [stat]
    left = iter([fault] * 2)
    objects.write(uri, b"def")
    assert bucket.get("a") == b"def"
    left = iter([fault] * 2)
    objects.delete(uri)
    assert bucket.names() == []


def test_an_empty_answer_is_none(bucket: Bucket) -> None:
    bucket.put("a", b"abc")
    left = iter(["empty"] * 3)
    bucket.gcs.faults = lambda *_: next(left, None)
    assert objects.read(bucket.uri("a"))[0] == b"abc"
    left = iter(["empty"] * 2)
    assert [stat.size for stat in objects.walk(bucket.uri(""))] == [3]


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_a_download_ends_in_the_time_it_has(bucket: Bucket, fault: str) -> None:
    """What drips would take a minute. Between two of its bytes is less time than any limit."""
    uri, data = bucket.uri("a"), os.urandom(1_000)
    generation = bucket.put("a", data)
    bucket.gcs.faults = lambda *_: fault
    start = time.monotonic()
    with pytest.raises(Unreadable, match=r"did not end within 0\.5 s.*--fetch-timeout") as caught:
        objects.read(uri, generation, size=1_000, timeout=0.5)
    assert caught.value.retryable
    with pytest.raises(Unreadable, match=r"did not end within 0\.5 s") as caught:
        objects.read(uri, timeout=0.5)  # the metadata drips too
    assert time.monotonic() - start < 30


HASTY = GcsObjects(QUICK.with_timeout(30.0), timeout=(10.0, 0.5))


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_every_other_answer_ends_in_the_time_it_has(bucket: Bucket, fault: str) -> None:
    bucket.put("a", os.urandom(1_000))
    uri = bucket.uri("a")
    for ask in (
        lambda: HASTY.stat(uri),
        lambda: HASTY.open(uri),
        lambda: list(HASTY.walk(bucket.uri(""))),
        lambda: HASTY.write(uri, b"abc"),
    ):
        left = iter([fault])
        bucket.gcs.faults = lambda *_: next(left, None)  # noqa: B023 - asked within the loop
        ask()
        assert next(left, None) is None
    bucket.gcs.faults = lambda *_: fault
    with pytest.raises(Unreadable) as caught:
        GcsObjects(QUICK, timeout=(10.0, 0.5)).stat(uri)
    assert caught.value.retryable


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_network_does_bytes_are_right_or_refused_for_now(bucket: Bucket, seed: int) -> None:
    stored = {f"{n}": random.Random(n).randbytes(10 ** (n % 5)) for n in range(20)}
    generations = {name: bucket.put(name, data) for name, data in stored.items()}
    bucket.gcs.faults = shower(seed)

    def read(name: str) -> bytes | None:
        return HASTY.read(bucket.uri(name), generations[name], size=len(stored[name]))[0]

    def copy(name: str) -> bytes | None:
        with HASTY.open(bucket.uri(name))[0] as file:
            return file.read()

    for ask in (read, copy):
        answers = {name: _unless_refused_for_now(ask, name) for name in stored}
        assert {name: data for name, data in answers.items() if data is not None}.items() <= stored.items()
        assert sum(data is None for data in answers.values()) <= 5


def _unless_refused_for_now(ask: Callable[[str], bytes | None], name: str) -> bytes | None:
    try:
        return ask(name)
    except Unreadable as error:
        if not error.retryable:
            raise
        return None


def test_a_full_disk_for_temporary_files_is_a_usage_error(bucket: Bucket) -> None:
    uri = bucket.uri("a")
    bucket.put("a", bytes(9 << 20))
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # EFBIG after 1 MiB
    try:
        with pytest.raises(UsageError, match=f"{uri}.*TMPDIR"):
            objects.open(uri)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_an_error_response_keeps_the_connection(bucket: Bucket) -> None:
    left = iter([503] * 5)
    generation = bucket.put("a", b"abc")
    gcs_client.close()
    bucket.gcs.faults = lambda *_: next(left, None)
    objects.read(bucket.uri("a"), generation)
    assert len(bucket.gcs.media()) == 6
    assert bucket.gcs.connections == 1


def test_gzip_in_transit_is_decoded_and_bounded(bucket: Bucket) -> None:
    packed = gzip.compress(b"a" * 5_000)
    uri, generation = bucket.uri("a"), bucket.put("a", packed, encoding="gzip")
    for max_bytes in (None, 5_000):
        assert objects.read(uri, max_bytes=max_bytes) == (b"a" * 5_000, Stat(uri, len(packed), generation))
    with pytest.raises(TooManyBytes, match="decodes to more than --max-bytes 4,999"):
        objects.read(uri, max_bytes=4_999)
    with objects.open(uri)[0] as file:
        assert file.read() == b"a" * 5_000
    bucket.gcs.faults = lambda _, path: "corrupt" if "alt=media" in path else None
    with pytest.raises(Unreadable, match="checksum"):
        objects.read(uri)


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"abc" * 100, mtime=0)[:-9], b""])
def test_invalid_gzip(bucket: Bucket, data: bytes) -> None:
    bucket.put("a", data, encoding="gzip")
    if not data:  # gzip of nothing may be nothing
        assert objects.read(bucket.uri("a"))[0] == b""
        return
    with pytest.raises(Unreadable, match="not gzip") as caught:
        objects.read(bucket.uri("a"))
    assert not caught.value.retryable


def test_other_encodings_and_gz_files_come_as_they_are(bucket: Bucket) -> None:
    packed = gzip.compress(b"abc")
    bucket.put("a.csv.gz", packed)
    bucket.put("b", b"xyz", encoding="aws-chunked")
    assert objects.read(bucket.uri("a.csv.gz"))[0] == packed
    assert objects.read(bucket.uri("b"))[0] == b"xyz"


def test_many_threads_are_served_at_once_on_few_connections(bucket: Bucket) -> None:
    generations = {f"{n:02}": bucket.put(f"{n:02}", bytes([n])) for n in range(64)}
    bucket.gcs.gather = 16

    def fetch(name: str) -> bytes:
        return objects.read(bucket.uri(name), generations[name], 10, size=1)[0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(fetch, generations)) == [bytes([n]) for n in range(64)]
    assert bucket.gcs.peak >= 16
    assert len(bucket.gcs.requests) == 64


def test_64_threads_keep_their_connections(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket.put("a", b"abc")
    bucket.gcs.gather = 64
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(objects.read, [bucket.uri("a")] * 128))
    assert bucket.gcs.peak >= 64
    assert "pool is full" not in caplog.text


def test_walk(bucket: Bucket) -> None:
    stats = [Stat(bucket.uri(name), len(name), bucket.put(name, name.encode())) for name in ("a/1", "a/b/2", "a/b/c/3")]
    bucket.put("a/", b"")  # as the console makes a folder
    bucket.put("ab/4", b"")
    assert sorted(objects.walk(bucket.uri("a/")), key=lambda stat: stat.uri) == stats
    assert list(objects.walk(bucket.uri("a/"), recursive=False)) == stats[:1]
    assert list(objects.walk(bucket.uri("none/"))) == []
    assert len(list(objects.walk(bucket.uri("")))) == 4
    path = bucket.gcs.requests[0][1]
    assert "fields=items%28name%2Csize%2Cgeneration%29%2CnextPageToken" in path
    assert "maxResults=5000" in path


def test_walk_in_pages(bucket: Bucket) -> None:
    for i in range(7):
        bucket.put(f"a/{i}", b"")
    bucket.put("a/2/", b"")
    assert [stat.uri for stat in objects.walk(bucket.uri("a/"), page=3)] == [bucket.uri(f"a/{i}") for i in range(7)]
    assert len(bucket.gcs.requests) == 3
    assert all("maxResults=3" in path for _, path in bucket.gcs.requests)


def test_walk_asks_for_the_keys_of_a_range(bucket: Bucket) -> None:
    for name in ("a/1", "a/2", "a/2/x", "a/3", "b"):
        bucket.put(name, b"")
    keys = KeyRange(bucket.uri("a/2"), bucket.uri("a/3"))
    assert [stat.uri for stat in objects.walk(bucket.uri("a/"), keys=keys)] == [bucket.uri("a/2"), bucket.uri("a/2/x")]
    assert "startOffset=a%2F2" in bucket.gcs.requests[0][1]
    assert "endOffset=a%2F3" in bucket.gcs.requests[0][1]
    assert [stat.uri for stat in objects.walk(bucket.uri("a/"), recursive=False, keys=keys)] == [bucket.uri("a/2")]
    assert len(list(objects.walk(bucket.uri(""), keys=KeyRange(bucket.uri("a/3"))))) == 2


def test_a_stream_is_copied_in_pieces(bucket: Bucket) -> None:
    data = os.urandom((17 << 20) + 17)
    uri = bucket.uri("a")
    bucket.put("a", data)
    with objects.open(uri)[0] as file:
        assert len(bucket.gcs.media()) == 3
        assert file.read(1_000) + file.read(1_000) == data[:2_000]
        assert file.seek(-17, io.SEEK_END) == 17 << 20
        assert file.read() == data[-17:]
        assert file.read(1) == b""
        assert file.seek(0) == 0
        assert b"".join(iter(lambda: file.read(1 << 18), b"")) == data
    assert len(bucket.gcs.media()) == 3


def test_an_empty_object(bucket: Bucket) -> None:
    bucket.put("a", b"")
    assert objects.read(bucket.uri("a"))[0] == b""
    with objects.open(bucket.uri("a"))[0] as file:
        assert file.read() == b""


def test_a_write_is_one_request_and_a_large_one_appears_whole(bucket: Bucket) -> None:
    data = os.urandom(200_000)
    objects.write(bucket.uri("a"), data)
    assert [method for method, _ in bucket.gcs.requests] == ["POST"]
    assert bucket.get("a") == data
    large = os.urandom(9 << 20)  # in a session of its own, from 8 MiB on
    half_way: list[list[str]] = []
    bucket.gcs.faults = lambda method, _: half_way.append(bucket.names())
    objects.write(bucket.uri("b"), large)
    assert bucket.get("b") == large
    assert all("b" not in names for names in half_way)


def test_a_write_that_fails_leaves_the_old_object(bucket: Bucket) -> None:
    bucket.put("a", b"old")
    bucket.gcs.faults = lambda *_: 503
    with pytest.raises(Unreadable):
        GcsObjects(QUICK.with_timeout(0.1)).write(bucket.uri("a"), b"new")
    assert bucket.get("a") == b"old"
    assert bucket.names() == ["a"]


def test_no_credentials_is_a_usage_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    gcs_client.close()
    with pytest.raises(UsageError, match="gcloud auth application-default login"):
        objects.read(bucket.uri("a"))
    gcs_client.close()


def test_refused_credentials_are_a_usage_error(bucket: Bucket) -> None:
    bucket.gcs.faults = lambda *_: 401
    with pytest.raises(UsageError, match="gcloud auth application-default login"):
        objects.read(bucket.uri("a"))


def test_one_client_for_all_threads(bucket: Bucket) -> None:
    gcs_client.close()
    barrier = threading.Barrier(16)

    def ask(_: int) -> int:
        barrier.wait()
        return id(gcs_client.client())

    with ThreadPoolExecutor(16) as pool:
        assert len(Counter(pool.map(ask, range(16)))) == 1


def test_it_can_be_pickled_for_a_worker(bucket: Bucket) -> None:
    bucket.put("a", b"abc")
    objects.stat(bucket.uri("a"))
    assert pickle.loads(pickle.dumps(objects)).read(bucket.uri("a"))[0] == b"abc"


def test_a_forked_child_has_a_client_of_its_own(bucket: Bucket) -> None:
    bucket.put("a", b"abc")
    objects.stat(bucket.uri("a"))
    with gcs_client._lock:  # held by the parent at the time: no reason for the child to wait
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if objects.read(bucket.uri("a"))[0] == b"abc" else 1)
            finally:
                os._exit(2)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended == (child, 0)
