"""One image of a shard by its URI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from shard_files import tar_of

from transforms.errors import BrokenShard, Changed, ListError, NotFound, TooManyBytes
from transforms.shards import single
from transforms.shards.container import ShardOptions
from transforms.shards.single import read_member
from transforms.storage import files

FILES = {f"{number}.jpg": os.urandom(1_000) for number in range(40)}


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    single.close()
    yield
    single.close()


def test_members_of_a_shard_copy_it_once(bucket: Bucket) -> None:
    version = bucket.put("a.tar", tar_of(FILES))
    shard = bucket.uri("a.tar")
    with ThreadPoolExecutor(12) as pool:
        read = dict(pool.map(lambda name: (name, read_member(f"tar://{name}::{shard}", version)), FILES))
    assert {name: data for name, (data, _) in read.items()} == FILES
    assert {stat for _, stat in read.values()} == {files.stat(shard)}
    assert len(bucket.gcs.media()) == 1


def test_two_shards_stay_open(bucket: Bucket) -> None:
    for name in "abc":
        bucket.put(f"{name}.tar", tar_of({"1.jpg": name.encode()}))
    for name in "abcbca":
        assert read_member(f"tar://1.jpg::{bucket.uri(name)}.tar")[0] == name.encode()
    assert len(bucket.gcs.media()) == 4


def test_a_new_version_is_read(bucket: Bucket) -> None:
    old = bucket.put("a.tar", tar_of({"1.jpg": b"old"}))
    uri = f"tar://1.jpg::{bucket.uri('a.tar')}"
    assert read_member(uri)[0] == b"old"
    new = bucket.put("a.tar", tar_of({"1.jpg": b"new"}))
    data, stat = read_member(uri)
    assert (data, stat.version) == (b"new", new)
    single.close()
    with pytest.raises(Changed):
        read_member(uri, old)


def test_a_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a", b"b", None]}), tmp_path / "a.parquet")
    assert read_member(f"{tmp_path}/a.parquet#row=1")[0] == b"b"
    with pytest.raises(ListError, match=r"a\.parquet#row=2 has no bytes"):
        read_member(f"{tmp_path}/a.parquet#row=2")
    with pytest.raises(NotFound, match=r"a\.parquet has no image 3"):
        read_member(f"{tmp_path}/a.parquet#row=3")


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(FILES)[:-10_000])
    with pytest.raises(TooManyBytes):
        read_member(f"tar://0.jpg::{tmp_path}/a.tar", options=ShardOptions(max_bytes=999))
    with pytest.raises(BrokenShard):
        read_member(f"tar://none.jpg::{tmp_path}/a.tar")
    with pytest.raises(NotFound):
        read_member(f"tar://none.jpg::{tmp_path}/none.tar")
    with pytest.raises(NotFound, match=r"names no image in a shard"):
        read_member(f"{tmp_path}/a.jpg")
