"""Any file is a shard of the kind of its first bytes, or is refused with a reason."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import tarfile
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from gcs_server import Bucket
from hypothesis import given
from hypothesis import strategies as st
from shard_files import content, opened, record_of, tar_of

from transforms.errors import BrokenShard, Changed, NotFound, Unreadable, UsageError
from transforms.shards import unpacking
from transforms.shards.opening import open_shard
from transforms.storage import files
from transforms.storage.base import FileSystem

FILES = {"a.jpg": b"first", "b.jpg": bytes(70_000), "c.jpg": os.urandom(70_000)}
TAR = tar_of(FILES, tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("suffix", [".tar", ".zip", ".tfrecord", ""])
@pytest.mark.parametrize("packed", [False, True])
def test_the_first_bytes_decide(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(TAR) if packed else TAR)
    assert content(path) == (FILES, {}, {}, None, 0)
    with opened(path) as container:
        assert container.kind == "tar"


@pytest.mark.parametrize("data", [b"", b"P", b"no shard at all", b"\xff\xd8\xff\xe0" * 200, os.urandom(2_000)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(BrokenShard, match=r"is no tar, zip, Parquet or TFRecord file|is empty"):
        open_shard(str(path))


def test_an_empty_tfrecord_file_has_no_records(tmp_path: Path) -> None:
    for name in ("a.tfrecord", "a.tfrecord-00000-of-00001"):
        (tmp_path / name).write_bytes(b"")
        assert content(tmp_path / name) == ({}, {}, {}, None, 0)


_STARTS = (b"", TAR[:512], b"PK\3\4", b"PK\5\6", b"PAR1", gzip.compress(TAR), record_of(b"a"), gzip.compress(b"PAR1"))


@given(st.sampled_from(_STARTS), st.binary(max_size=600))
def test_any_bytes_are_a_shard_or_refused(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(start + rest)
    content(path)


@given(st.data())
def test_any_cut_of_gzip_gives_the_first_members(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    packed = gzip.compress(TAR[:100_000]) + gzip.compress(TAR[100_000:])
    cut = data.draw(st.integers(0, len(packed) - 1))
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    path.write_bytes(packed[:cut])
    found = content(path)
    assert list(found.images.items()) == list(FILES.items())[: len(found.images)]
    if cut != len(gzip.compress(TAR[:100_000])):
        assert found.broken is not None
        assert cut < 2 or f"ends early, at byte {cut:,} of {cut:,}" in found.broken
    if cut == len(packed) - 1:
        assert found.images == FILES


def test_gzip_streams_may_follow_each_other_and_zeros_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    pieces = [gzip.compress(TAR[at : at + 9_999]) for at in range(0, len(TAR), 9_999)]
    for end in (b"", bytes(10_000), gzip.compress(b"")):
        path.write_bytes(b"".join(pieces) + end)
        assert content(path) == (FILES, {}, {}, None, 0)
    for end in (b"x", bytes(10) + b"x"):
        path.write_bytes(b"".join(pieces) + end)
        found = content(path)
        assert found.images == FILES
        assert found.broken is not None
        assert "followed by other bytes" in found.broken


def test_gzip_with_a_wrong_checksum_is_broken(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"") + gzip.compress(TAR) + gzip.compress(bytes(512)))
    data[-8] ^= 1
    (tmp_path / "a.tgz").write_bytes(data)
    found = content(tmp_path / "a.tgz")
    assert found.images == FILES
    assert found.broken is not None
    assert "incorrect data check" in found.broken


def zeros(megabytes: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    for _ in range(megabytes):
        yield packer.compress(bytes(1 << 20))
    yield packer.flush()


def test_a_bomb_is_not_unpacked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "BOMB_BYTES", 8 << 20)
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(ONE) + b"".join(zeros(64)))
    with opened(tmp_path / "bomb.tgz") as container:
        members = container.members()
        assert container.read(next(members)) == b"abc"
        with pytest.raises(BrokenShard, match="more than 100 times its size, at byte"):
            list(members)
        assert container._source.size < 10 << 20  # type: ignore[attr-defined]
    monkeypatch.setattr(unpacking, "BOMB_RATIO", 2_000)
    assert content(tmp_path / "bomb.tgz").broken is None


ONE = tar_of({"a.jpg": b"abc"}, tarfile.USTAR_FORMAT)[:1_024]


def test_a_full_disk_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(gzip.compress(bytes(3 << 20)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"a\.tgz.*TMPDIR"):
            open_shard(str(tmp_path / "a.tgz"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_another_version_is_changed(tmp_path: Path, bucket: Bucket) -> None:
    for uri in (str(tmp_path / "a.tar"), bucket.uri("a.tar")):
        files.write(uri, TAR)
        old = files.stat(uri)
        assert open_shard(uri, old.version).stat == open_shard(uri).stat == old
        files.write(uri, TAR + bytes(512))
        with pytest.raises(Changed, match=f"version {old.version} was listed, the current version is"):
            open_shard(uri, old.version)
    with pytest.raises(NotFound):
        open_shard(bucket.uri("none.tar"))


def test_a_local_shard_that_is_overwritten_meanwhile_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(TAR)
    with opened(path) as container:
        members = container.members()
        first = next(members)
        path.write_bytes(TAR.replace(b"first", b"other"))
        os.utime(path, ns=(1, 1))
        with pytest.raises(Changed):
            container.read(first)
        with pytest.raises(Changed):
            list(members)


def test_few_requests_copy_a_shard_at_once(bucket: Bucket) -> None:
    images = {f"{number}.jpg": bytes([number]) * (8 << 20) for number in range(8)}
    bucket.put("a.tar", tar_of(images))
    version = files.stat(bucket.uri("a.tar")).version
    bucket.gcs.requests.clear()
    bucket.gcs.peak, bucket.gcs.delay = 0, 0.05
    container, stat = open_shard(bucket.uri("a.tar"), version)
    assert {member.name: container.read(member) for member in container.members()} == images
    assert stat.version == version
    assert len(bucket.gcs.requests) <= 64 // 4 + 1
    assert len(bucket.gcs.media()) == 9
    assert 2 <= bucket.gcs.peak <= 4


@pytest.mark.parametrize("fault", ["corrupt", 503, "cut"])
def test_what_the_network_spoils_once_is_copied_again(
    bucket: Bucket, quick_retries: FileSystem, fault: str | int
) -> None:
    files_ = {"a.jpg": os.urandom(20 << 20)}
    bucket.put("a.tar", tar_of(files_))
    asked = count()
    bucket.gcs.faults = lambda _, path: fault if "alt=media" in path and next(asked) == 1 else None
    assert content(bucket.uri("a.tar")).images == files_
    bucket.gcs.faults = lambda _, path: fault if "alt=media" in path else None
    with pytest.raises(Unreadable) as caught:
        open_shard(bucket.uri("a.tar"))
    assert caught.value.retryable


@pytest.mark.parametrize("packed", [TAR, gzip.compress(TAR)])
def test_content_encoding_is_undone(bucket: Bucket, packed: bytes) -> None:
    bucket.put("a.tar.gz", gzip.compress(packed), encoding="gzip")
    assert content(bucket.uri("a.tar.gz")).images == FILES
    bucket.put("a.tar.gz", gzip.compress(packed)[:-9], encoding="gzip")
    assert content(bucket.uri("a.tar.gz")).broken is not None
