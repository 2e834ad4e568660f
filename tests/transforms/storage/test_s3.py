"""S3Objects against a server on 127.0.0.1: what is asked of it, and what becomes of each answer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from faults import Fault, shower
from google.api_core.retry import Retry
from moto.s3.models import get_canned_acl
from s3_server import S3Bucket

from transforms.errors import Changed, NoCredentials, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage import files, s3_client, s3_keys
from transforms.storage.base import KeyRange, Stat
from transforms.storage.s3 import S3Objects

QUICK = Retry(initial=0.01, maximum=0.05, multiplier=2.0, timeout=3.0)
objects = S3Objects(QUICK)

NAMES = [
    "a.jpg",
    "a/b c.jpg",
    "a#b.jpg",
    "a?b=c&d.jpg",
    "a%20b%2Fc.jpg",
    "ä/猫🐈.jpg",
    "a+b&c.jpg",
    "[a]*.jpg",
    "a:b\\c.jpg",
    "a//b.jpg",
    "/a.jpg",
    "a/../b.jpg",
    "./a.jpg",
]


def downloads(bucket: S3Bucket) -> list[str]:
    """The paths of all downloads so far."""
    return [path for method, path in bucket.s3.requests if method == "GET" and "list-type" not in path]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(s3_bucket: S3Bucket, name: str) -> None:
    uri = s3_bucket.uri(name)
    etag = s3_bucket.put(name, b"put")
    stat = Stat(uri, 3, etag)
    assert objects.stat(uri) == stat
    assert objects.read(uri) == objects.read(uri, etag, 3, size=3) == (b"put", stat)
    assert list(objects.walk(s3_bucket.uri(""))) == [stat]
    with objects.open(uri)[0] as file:
        assert file.read() == b"put"
    objects.write(uri, b"written")
    assert s3_bucket.get(name) == b"written"
    assert s3_bucket.names() == [name]
    objects.delete(uri)
    assert s3_bucket.names() == []


def test_a_read_is_one_request(s3_bucket: S3Bucket) -> None:
    uri, etag = s3_bucket.uri("a"), s3_bucket.put("a", b"abc")
    for version in (etag, None):
        for limit in (10, None):
            for size in (3, None):
                s3_bucket.s3.requests.clear()
                assert objects.read(uri, version, limit, size=size)[0] == b"abc"
                assert [method for method, _ in s3_bucket.s3.requests] == ["GET"]


def test_the_limit_holds(s3_bucket: S3Bucket) -> None:
    uri, etag = s3_bucket.uri("a"), s3_bucket.put("a", bytes(1_001))
    for known in ({}, {"version": etag}, {"version": etag, "size": 1_001}, {"version": etag, "size": 5}, {"size": 5}):
        with pytest.raises(TooManyBytes, match=r"1,001 bytes.*--max-bytes 1,000") as caught:
            objects.read(uri, max_bytes=1_000, **known)
        assert caught.value.version == etag
    s3_bucket.s3.requests.clear()
    with pytest.raises(TooManyBytes):
        objects.read(uri, etag, 1_000, size=1_001)
    assert s3_bucket.s3.requests == []
    assert objects.read(uri, max_bytes=1_001)[0] == bytes(1_001)


def test_the_limit_holds_before_the_body_arrives(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", bytes(100_000))
    s3_bucket.s3.faults = lambda *_: "stall"
    start = time.monotonic()
    with pytest.raises(TooManyBytes):
        objects.read(s3_bucket.uri("a"), max_bytes=1_000)
    assert time.monotonic() - start < 5


def test_what_was_overwritten_is_changed(s3_bucket: S3Bucket) -> None:
    uri, old = s3_bucket.uri("a"), s3_bucket.put("a", b"old")
    new = s3_bucket.put("a", b"new!")
    for options in ({}, {"max_bytes": 10}, {"max_bytes": 10, "size": 3}):
        with pytest.raises(Changed, match=f"version {old} was listed, the current version is {new}") as caught:
            objects.read(uri, old, **options)
        assert caught.value.retryable
    with pytest.raises(Changed, match=old):
        objects.open(uri, old)
    with objects.open(uri, new)[0] as file:
        assert file.read() == b"new!"
    assert objects.read(uri)[1].version == new
    with pytest.raises(Changed, match="not the ETag"):
        objects.read(uri, 'no "ETag')


def test_what_is_overwritten_while_it_is_copied_is_copied_again(s3_bucket: S3Bucket) -> None:
    uri, _ = s3_bucket.uri("a"), s3_bucket.put("a", bytes(17 << 20))
    asked = count()

    def overwrite_before_the_second_piece(method: str, path: str) -> None:
        if next(asked) == 2:
            s3_bucket.put("a", b"new!")

    s3_bucket.s3.faults = overwrite_before_the_second_piece
    with pytest.raises(Changed):
        objects.open(uri)
    s3_bucket.put("a", bytes(17 << 20))
    asked = count()
    with files.open(uri) as file:
        assert file.read() == b"new!"


def test_a_stream_is_copied_in_pieces(s3_bucket: S3Bucket) -> None:
    data = os.urandom((17 << 20) + 17)
    s3_bucket.put("a", data)
    with objects.open(s3_bucket.uri("a"))[0] as file:
        assert len(downloads(s3_bucket)) == 3
        assert file.seek(-17, io.SEEK_END) == 17 << 20
        assert file.read() == data[-17:]
        assert file.seek(0) == 0
        assert file.read() == data


def test_an_empty_object(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", b"")
    assert objects.read(s3_bucket.uri("a"))[0] == b""
    with objects.open(s3_bucket.uri("a"))[0] as file:
        assert file.read() == b""


def test_gzip_is_decoded_up_to_the_limit(s3_bucket: S3Bucket) -> None:
    uri, stored = s3_bucket.uri("a"), gzip.compress(bytes(10_000))
    objects.write(uri, stored)
    s3_bucket.key("a").metadata["Content-Encoding"] = "gzip"
    data, stat = objects.read(uri, max_bytes=10_000)
    assert (data, stat.size) == (bytes(10_000), len(stored))
    with objects.open(uri)[0] as file:
        assert file.read() == data
    with pytest.raises(TooManyBytes, match="decodes"):
        objects.read(uri, max_bytes=9_999)


def test_what_is_not_there_is_not_found(s3_bucket: S3Bucket) -> None:
    uri, etag = s3_bucket.uri("a"), s3_bucket.put("a", b"abc")
    s3_bucket.delete("a")
    nowhere = "s3://no-such-bucket-here/a"
    for asked in (objects.stat, objects.read, objects.open, lambda uri: objects.read(uri, etag, 9, size=3)):
        with pytest.raises(NotFound, match=uri) as caught:
            asked(uri)
        assert not caught.value.retryable
        with pytest.raises(NotFound, match="no bucket s3://no-such-bucket-here"):
            asked(nowhere)
    with pytest.raises(NotFound, match="no bucket s3://no-such-bucket-here"):
        list(objects.walk("s3://no-such-bucket-here/x/"))
    for write in (objects.write, lambda uri, data: objects.write_if(uri, data, None)):
        with pytest.raises(UsageError, match=r"cannot write.*no bucket s3://no-such-bucket-here"):
            write(nowhere, b"")
    objects.delete(uri)
    objects.delete(nowhere)
    assert not objects.delete_if(uri, etag)


@pytest.mark.parametrize("uri", ["s3://bucket_!/a", "s3://bucket/\udcff.jpg"])
def test_what_cannot_be_is_not_found(s3_bucket: S3Bucket, uri: str) -> None:
    with pytest.raises(NotFound):
        objects.read(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://", "s3:///a"])
def test_what_names_no_object_is_a_usage_error(s3_bucket: S3Bucket, uri: str) -> None:
    for asked in (objects.read, objects.stat, objects.open, objects.delete, lambda uri: objects.write(uri, b"")):
        with pytest.raises(UsageError, match=uri):
            asked(uri)
    assert s3_bucket.s3.requests == []


def test_no_permission_names_the_permission(s3_bucket: S3Bucket) -> None:
    uri = s3_bucket.uri("a")
    s3_bucket.put("a", b"")
    s3_bucket.s3.faults = lambda *_: 403
    for asked in (objects.read, objects.stat, objects.open):
        with pytest.raises(Unreadable, match=r"s3:GetObject on the bucket, and s3:ListBucket.*AccessDenied") as caught:
            asked(uri)
        assert caught.value.retryable  # mended without a change of the image
        assert caught.value.answered
    with pytest.raises(Unreadable, match="s3:ListBucket"):
        list(objects.walk(s3_bucket.uri("")))
    with pytest.raises(UsageError, match=r"cannot write.*s3:PutObject"):
        objects.write(uri, b"")
    with pytest.raises(UsageError, match=r"s3:DeleteObject"):
        objects.delete(uri)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_credentials_are_a_usage_error(s3_bucket: S3Bucket, code: str) -> None:
    """A response to HEAD does not give the reason, so it is asked for."""
    s3_bucket.s3.code = code
    s3_bucket.s3.faults = lambda *_: 400 if code == "ExpiredToken" else 403
    for asked in (objects.read, objects.stat, lambda uri: list(objects.walk(uri)), lambda uri: objects.write(uri, b"")):
        with pytest.raises(NoCredentials, match=f"(?s)aws configure.*{code}"):
            asked(s3_bucket.uri("a"))


def test_an_archived_object_names_the_remedy(s3_bucket: S3Bucket) -> None:
    s3_bucket.s3.code, s3_bucket.s3.faults = "InvalidObjectState", lambda *_: 403
    with pytest.raises(Unreadable, match="archived; restore it") as caught:
        objects.read(s3_bucket.uri("a"))
    assert caught.value.answered


@pytest.fixture
def other_environment(s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a MonkeyPatch without credentials. The client of the test is created from it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3_client.close()
    yield monkeypatch
    s3_client.close()


def test_no_credentials_is_a_usage_error(s3_bucket: S3Bucket, other_environment: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with pytest.raises(NoCredentials, match="AWS_ACCESS_KEY_ID"):
            objects.read(s3_bucket.uri("a"))
    other_environment.setenv("AWS_PROFILE", "none")
    with pytest.raises(NoCredentials, match="none"):
        objects.read(s3_bucket.uri("a"))
    assert s3_bucket.s3.requests == []


def test_credentials_of_a_profile(s3_bucket: S3Bucket, other_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    other_environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    other_environment.setenv("AWS_PROFILE", "work")
    objects.write(s3_bucket.uri("a"), b"abc")
    assert objects.read(s3_bucket.uri("a"))[0] == b"abc"


def test_public_buckets_need_no_credentials(s3_bucket: S3Bucket, other_environment: pytest.MonkeyPatch) -> None:
    for name in ("public", "private"):
        s3_bucket.put(name, b"abc")
    s3_bucket.key("public").set_acl(get_canned_acl("public-read"))
    other_environment.setenv("AWS_NO_SIGN_REQUEST", "true")
    assert objects.read(s3_bucket.uri("public"))[0] == b"abc"
    with pytest.raises(Unreadable, match="s3:GetObject"):
        objects.read(s3_bucket.uri("private"))


def test_a_directory_bucket_is_refused() -> None:
    with pytest.raises(UsageError, match="directory bucket"):
        files.check("s3://images--use1-az4--x-s3/a/")


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transforms.storage.s3")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transforms.storage.s3_keys", s3_keys)
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.delitem(files.SYSTEMS, "s3", raising=False)
    for asked in (files.check, files.read):
        with pytest.raises(UsageError, match=r"s3://bucket/a needs .*pip install 'beamsight\[s3\]'"):
            asked("s3://bucket/a")


@pytest.mark.parametrize("fault", [429, 500, 503, 408, "drop"])
def test_transient_errors_are_retried(s3_bucket: S3Bucket, fault: int | str) -> None:
    left = iter([fault] * 3)
    etag = s3_bucket.put("a", b"abc")
    s3_bucket.s3.faults = lambda *_: next(left, None)
    assert objects.read(s3_bucket.uri("a"), etag, 9, size=3)[0] == b"abc"
    assert len(downloads(s3_bucket)) == 4
    for asked in (objects.stat, lambda uri: objects.write(uri, b"def"), lambda uri: list(objects.walk(uri))):
        left = iter([fault] * 3)
        asked(s3_bucket.uri("a"))
    assert s3_bucket.get("a") == b"def"


@pytest.mark.parametrize("fault", [429, 503, "drop"])
def test_an_error_after_all_retries_is_retryable(s3_bucket: S3Bucket, fault: int | str) -> None:
    s3_bucket.put("a", b"old")
    s3_bucket.s3.faults = lambda *_: fault
    hasty = S3Objects(QUICK.with_timeout(0.2))
    for asked in (hasty.read, lambda uri: list(hasty.walk(uri)), lambda uri: hasty.write(uri, b"")):
        with pytest.raises(Unreadable) as caught:
            asked(s3_bucket.uri("a"))
        assert caught.value.retryable
        assert not caught.value.answered
    assert s3_bucket.get("a") == b"old"


@pytest.mark.parametrize("status", [400, 501])
def test_a_bad_request_is_not_retried(s3_bucket: S3Bucket, status: int) -> None:
    s3_bucket.s3.faults = lambda *_: status
    with pytest.raises(Unreadable) as caught:
        objects.read(s3_bucket.uri("a"))
    assert not caught.value.retryable
    assert len(s3_bucket.s3.requests) == 1
    with pytest.raises(UsageError, match="cannot write"):  # such as a server without conditional writes
        objects.write_if(s3_bucket.uri("a"), b"", None)


@pytest.mark.parametrize("fault", ["cut", "reset", "short", "corrupt", "corrupt start"])
@pytest.mark.parametrize("checksum", ["ETag", "crc32c"])
def test_wrong_bytes_are_asked_for_again(s3_bucket: S3Bucket, fault: str, checksum: str) -> None:
    uri, data = s3_bucket.uri("a"), os.urandom(1_001)
    if checksum == "ETag":
        s3_bucket.put("a", data)
    else:
        objects.write(uri, data)
    etag = objects.stat(uri).version
    left = iter([fault])
    s3_bucket.s3.faults = lambda method, _: next(left, None) if method == "GET" else None
    s3_bucket.s3.requests.clear()
    assert objects.read(uri, etag, 2_000, size=1_001)[0] == data
    assert len(s3_bucket.s3.requests) == 2
    left = iter([fault])
    with objects.open(uri)[0] as file:
        assert file.read() == data


@pytest.mark.parametrize("fault", ["short", "corrupt"])
def test_bytes_that_are_always_wrong_are_refused(s3_bucket: S3Bucket, fault: str) -> None:
    uri = s3_bucket.uri("a")
    objects.write(uri, os.urandom(1_001))
    s3_bucket.s3.faults = lambda method, _: fault if method == "GET" else None
    with pytest.raises(Unreadable, match="do not match the checksum") as caught:
        objects.read(uri)
    assert caught.value.retryable
    assert caught.value.answered
    with pytest.raises(Unreadable, match=r"checksum|bytes arrived"):
        objects.open(uri)


def test_the_etag_of_amazon_is_certain(s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_bucket.put("a", b"abc")
    monkeypatch.setattr("transforms.storage.s3.is_amazon", lambda: True)
    s3_bucket.s3.faults = lambda method, _: "corrupt" if method == "GET" else None
    with pytest.raises(Unreadable, match="do not match the checksum"):
        objects.read(s3_bucket.uri("a"))


def test_another_server_may_have_etags_that_are_no_md5(s3_bucket: S3Bucket) -> None:
    uri = s3_bucket.uri("a")
    s3_bucket.put("a", b"abc")
    s3_bucket.key("a")._etag = "0" * 32
    assert objects.read(uri) == (b"abc", Stat(uri, 3, "0" * 32))
    assert len(downloads(s3_bucket)) == 2
    with objects.open(uri)[0] as file:
        assert file.read() == b"abc"


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_the_checksum_of_the_object_is_verified(s3_bucket: S3Bucket, name: str) -> None:
    uri, data = s3_bucket.uri("a"), b"123456789"
    known = {
        "CRC32": bytes.fromhex("cbf43926"),
        "CRC32C": bytes.fromhex("e3069283"),
        "SHA1": hashlib.sha1(data).digest(),
        "SHA256": hashlib.sha256(data).digest(),
    }
    s3_bucket.put("a", data)
    stored = s3_bucket.key("a")
    stored.checksum_algorithm, stored.checksum_value = name, base64.b64encode(known[name]).decode()
    stored._etag = f"{'0' * 32}-2"
    assert objects.read(uri)[0] == data
    with objects.open(uri)[0] as file:
        assert file.read() == data
    s3_bucket.s3.faults = lambda method, _: "corrupt" if method == "GET" else None
    with pytest.raises(Unreadable, match="do not match the checksum"):
        objects.read(uri)


def test_a_checksum_of_checksums_is_not_compared(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", b"abc")
    stored = s3_bucket.key("a")
    stored.checksum_algorithm, stored.checksum_value, stored._etag = "CRC32", "AAAAAA==-2", f"{'0' * 32}-2"
    assert objects.read(s3_bucket.uri("a"))[0] == b"abc"
    assert len(s3_bucket.s3.requests) == 1


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_a_download_ends_in_the_time_it_has(s3_bucket: S3Bucket, fault: str) -> None:
    """What drips would take a minute. Between two of its bytes is less time than any limit."""
    etag = s3_bucket.put("a", os.urandom(1_000))
    s3_bucket.s3.faults = lambda *_: fault
    start = time.monotonic()
    with pytest.raises(Unreadable, match=r"within 0\.5 s; allow more time with --fetch-timeout") as caught:
        S3Objects().read(s3_bucket.uri("a"), etag, timeout=0.5)
    assert time.monotonic() - start < 3
    assert caught.value.retryable


def test_a_slow_answer_in_time_is_read(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", b"abc")
    s3_bucket.s3.delay = 0.3
    assert objects.read(s3_bucket.uri("a"), timeout=20)[0] == b"abc"


def test_a_shower_of_faults(s3_bucket: S3Bucket) -> None:
    kinds: list[Fault] = [503, 500, 429, "drop", "reset", "cut", "short", "corrupt"]
    contents = {s3_bucket.uri(f"{number}"): os.urandom(500 + number) for number in range(20)}
    s3_bucket.s3.faults = shower(1, 0.2, kinds[:4])
    for uri, data in contents.items():
        objects.write(uri, data)
    s3_bucket.s3.faults = shower(2, 0.2, kinds)
    for uri, data in contents.items():
        assert objects.read(uri)[0] == data


def test_writes_carry_a_checksum_and_a_type(s3_bucket: S3Bucket) -> None:
    objects.write(s3_bucket.uri("a.html"), b"123456789")
    with objects.create(s3_bucket.uri("b")) as file:
        file.write(b"1234")
        file.write(b"56789")
    for name, kind in (("a.html", "text/html; charset=utf-8"), ("b", "application/octet-stream")):
        assert s3_bucket.get(name) == b"123456789"
        assert s3_bucket.key(name).checksum_value == base64.b64encode(bytes.fromhex("e3069283")).decode()
        assert objects.read(s3_bucket.uri(name))[0] == b"123456789"
        assert s3_bucket.key(name).metadata["content-type"] == kind


def test_a_created_file_appears_at_the_end_or_not_at_all(s3_bucket: S3Bucket) -> None:
    data = os.urandom(3 << 20)
    left: Iterator[Fault] = iter([503, "drop"])
    s3_bucket.s3.faults = lambda *_: next(left, None)
    with objects.create(s3_bucket.uri("a")) as file:
        file.write(data)
        assert s3_bucket.names() == []
    assert s3_bucket.get("a") == data
    with pytest.raises(ZeroDivisionError), objects.create(s3_bucket.uri("b")) as file:
        file.write(b"%d" % (1 // 0))
    assert s3_bucket.names() == ["a"]


def test_write_if_and_delete_if(s3_bucket: S3Bucket) -> None:
    uri = s3_bucket.uri("a")
    first = objects.write_if(uri, b"1", None)
    assert first == objects.stat(uri).version
    assert objects.write_if(uri, b"2", None) is None
    second = objects.write_if(uri, b"2", first)
    assert second == objects.stat(uri).version != first
    assert objects.write_if(uri, b"3", first) is None
    assert not objects.delete_if(uri, str(first))
    assert s3_bucket.get("a") == b"2"
    assert objects.delete_if(uri, str(second))
    assert s3_bucket.names() == []
    assert objects.write_if(uri, b"4", second) is None
    assert s3_bucket.names() == []


def test_a_server_that_ignores_conditions_overwrites_no_other_version(s3_bucket: S3Bucket) -> None:
    uri, version = s3_bucket.uri("a"), s3_bucket.put("a", b"old")
    s3_bucket.s3.ignored_headers = ("if-match", "if-none-match")
    assert objects.write_if(uri, b"new", None) is None
    assert objects.write_if(uri, b"new", "another") is None
    assert not objects.delete_if(uri, "another")
    assert s3_bucket.get("a") == b"old"
    assert objects.write_if(uri, b"new", version)


def test_on_amazon_a_conditional_write_is_one_request(s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.s3.is_amazon", lambda: True)
    version = objects.write_if(s3_bucket.uri("a"), b"1", None)
    assert objects.write_if(s3_bucket.uri("a"), b"2", version)
    assert objects.write_if(s3_bucket.uri("b"), b"2", version) is None
    assert [method for method, _ in s3_bucket.s3.requests] == ["PUT"] * 3


@pytest.mark.parametrize("exists", [False, True])
def test_one_of_many_concurrent_writes_succeeds(s3_bucket: S3Bucket, exists: bool) -> None:
    uri = s3_bucket.uri("a")
    version = objects.write_if(uri, b"old", None) if exists else None
    s3_bucket.s3.requests.clear()
    s3_bucket.s3.gather = 8
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: objects.write_if(uri, b"%d" % number, version), range(8)))
    (winner,) = [number for number, found in enumerate(won) if found]
    assert s3_bucket.get("a") == b"%d" % winner


def test_one_of_many_concurrent_deletes_succeeds(s3_bucket: S3Bucket) -> None:
    uri, version = s3_bucket.uri("a"), s3_bucket.put("a", b"old")
    s3_bucket.s3.gather = 8
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: objects.delete_if(uri, version), range(8))) == 1


def test_a_delete_between_the_look_and_the_delete_keeps_the_new_version(s3_bucket: S3Bucket) -> None:
    uri, version = s3_bucket.uri("a"), s3_bucket.put("a", b"old")

    def overwrite(method: str, path: str) -> None:
        if method == "DELETE":
            s3_bucket.put("a", b"new")

    s3_bucket.s3.faults = overwrite
    assert not objects.delete_if(uri, version)
    assert s3_bucket.get("a") == b"new"


def test_a_conflict_with_another_write_is_tried_again(s3_bucket: S3Bucket) -> None:
    left = iter([409, 409])
    s3_bucket.s3.faults = lambda method, _: next(left, None) if method == "PUT" else None
    assert objects.write_if(s3_bucket.uri("a"), b"1", None)
    assert s3_bucket.get("a") == b"1"


def test_the_time_of_the_server(s3_bucket: S3Bucket) -> None:
    objects.write(s3_bucket.uri("a"), b"")
    assert abs(objects.written_at(s3_bucket.uri("a")).timestamp() - time.time()) < 30
    assert objects.written_at(s3_bucket.uri("a")).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        objects.written_at(s3_bucket.uri("b"))


def test_a_long_listing_is_sorted_and_comes_in_pages(s3_bucket: S3Bucket) -> None:
    names = sorted(f"k/{hashlib.md5(b'%d' % number).hexdigest()[:9]}.jpg" for number in range(3_000))
    for name in names:
        s3_bucket.put(name, b"x")
    uris = [s3_bucket.uri(name) for name in names]
    assert [stat.uri for stat in objects.walk(s3_bucket.uri("k/"))] == uris
    assert len(s3_bucket.s3.requests) == 3
    s3_bucket.s3.requests.clear()
    keys = KeyRange(uris[1_500], uris[1_510])
    assert [stat.uri for stat in objects.walk(s3_bucket.uri("k/"), keys=keys, page=100)] == uris[1_500:1_510]
    assert len(s3_bucket.s3.requests) == 1
    left: Iterator[Fault | None] = iter([None, 503, "drop", None])
    s3_bucket.s3.faults = lambda *_: next(left, None)
    assert len(list(objects.walk(s3_bucket.uri("k/")))) == 3_000


def test_a_folder_without_those_below(s3_bucket: S3Bucket) -> None:
    for name in ("a/1", "a/2/x", "a/2/y", "a/3", "a/", "b"):
        s3_bucket.put(name, b"")

    def names(prefix: str, **options: Any) -> list[str]:
        return [stat.uri.removeprefix(s3_bucket.uri("")) for stat in objects.walk(s3_bucket.uri(prefix), **options)]

    assert names("") == ["a/1", "a/2/x", "a/2/y", "a/3", "b"]
    assert names("", recursive=False) == ["b"]
    assert names("a/", recursive=False) == ["a/1", "a/3"]
    assert names("a/2", recursive=False) == []
    assert names("a/2") == ["a/2/x", "a/2/y"]
    assert names("none/") == []
    assert names("a/", keys=KeyRange(s3_bucket.uri("a/2"), s3_bucket.uri("a/3"))) == ["a/2/x", "a/2/y"]
    assert names("a/", recursive=False, keys=KeyRange(s3_bucket.uri("a/2"))) == ["a/3"]


@pytest.mark.parametrize("start", ["a", "a/", "a/b", "ab", "b", "ä", "猫", "\ue000", "a!", "a\x01", "🐈"])
def test_a_range_begins_at_its_start(s3_bucket: S3Bucket, start: str) -> None:
    names = sorted(
        {"a", "a!", "a/", "a/b", "a/b/c", "a0", "ab", "aa🐈", "b", "ä", "ã🐈", "猫", "\ue000", "\ud7ff", "🐈"}
    )
    for name in names:
        s3_bucket.put(name, b"")
    wanted = [name for name in names if name >= start and not name.endswith("/")]
    found = objects.walk(s3_bucket.uri(""), keys=KeyRange(s3_bucket.uri(start)))
    assert [stat.uri for stat in found] == [s3_bucket.uri(name) for name in wanted]
    assert s3_keys.before(start) < start


def test_one_client_for_all_threads(s3_bucket: S3Bucket) -> None:
    s3_client.close()
    barrier = threading.Barrier(16)

    def ask(_: int) -> int:
        barrier.wait()
        return id(s3_client.client())

    with ThreadPoolExecutor(16) as pool:
        assert len(Counter(pool.map(ask, range(16)))) == 1


def test_connections_are_kept_open(s3_bucket: S3Bucket) -> None:
    objects.write(s3_bucket.uri("a"), b"abc")
    pools = s3_client.client()._endpoint.http_session._manager.pools
    before = [pools[key].num_connections for key in pools.keys()]  # noqa: SIM118 - no dict
    for timeout in (30, 20, 10):
        objects.read(s3_bucket.uri("a"), timeout=timeout)
        objects.stat(s3_bucket.uri("a"))
        with pytest.raises(NotFound):
            objects.read(s3_bucket.uri("b"))
    assert [pools[key].num_connections for key in pools.keys()] == before  # noqa: SIM118


def test_it_can_be_pickled_for_a_worker(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", b"abc")
    objects.stat(s3_bucket.uri("a"))
    assert pickle.loads(pickle.dumps(objects)).read(s3_bucket.uri("a"))[0] == b"abc"


def test_a_forked_child_has_a_client_of_its_own(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("a", b"abc")
    objects.stat(s3_bucket.uri("a"))
    with s3_client._lock:  # held by the parent at the time: no reason for the child to wait
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if objects.read(s3_bucket.uri("a"))[0] == b"abc" else 1)
            finally:
                os._exit(2)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended == (child, 0)
