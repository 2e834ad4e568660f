"""member_uris: members have URIs that name their shard, and that sort beside each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import member_uris
from transforms.member_uris import MemberUri

KINDS = {
    "gs://b/a.tar": "tar",
    "a/B.TAR.GZ": "tar",
    "a.tgz": "tar",
    "a.zip": "zip",
    "train-00000-of-00010.parquet": "parquet",
    "a.tfrecord": "tfrecord",
    "a.tfrecords.gz": "tfrecord",
    "mnist-train.tfrecord-00000-of-00001": "tfrecord",
    "gs://b/train-00017-of-01024": "tfrecord",
    "a.jpg": None,
    "a.gz": None,
    "a.tar.bz2": None,
    "photo-1": None,
    "a.zip/b.jpg": None,
    "tar://a.jpg::gs://b/a.tar": None,
    "zip://a/b.zip::/in/a.zip": None,
    "a.parquet#row=1": None,
    "train-00017-of-01024#record=3": None,
}


@pytest.mark.parametrize(("uri", "kind"), KINDS.items())
def test_kinds_by_name(uri: str, kind: str | None) -> None:
    assert member_uris.kind(uri) == kind


@pytest.mark.parametrize(
    ("kind", "shard", "name", "uri"),
    [
        ("tar", "gs://b/s.tar", "a/b.jpg", "tar://a/b.jpg::gs://b/s.tar"),
        ("zip", "/in/s.zip", "./a b.png", "zip://./a b.png::/in/s.zip"),
        ("parquet", "gs://b/p.parquet", "17", "gs://b/p.parquet#row=17"),
        ("tfrecord", "/in/t-00000-of-00001", "0", "/in/t-00000-of-00001#record=0"),
    ],
)
def test_a_member_has_a_uri_that_names_its_shard(kind: member_uris.Kind, shard: str, name: str, uri: str) -> None:
    assert member_uris.join(kind, shard, name) == uri
    assert member_uris.split(uri) == MemberUri(shard, name)
    assert member_uris.file_of(uri) == shard
    other = "/other/" + shard.rpartition("/")[2]
    assert member_uris.split(member_uris.with_shard(uri, other)) == MemberUri(other, name)


@pytest.mark.parametrize("uri", ["gs://b/a.jpg", "/in/a#row=1.jpg", "/in/a.jpg#row=1", "/in/a::b.jpg", "s.tar#row=1"])
def test_files_are_no_members(uri: str) -> None:
    assert member_uris.split(uri) is None
    assert member_uris.file_of(uri) == member_uris.to_key(uri) == uri
    with pytest.raises(ValueError, match="not the URI of an image in a shard"):
        member_uris.with_shard(uri, "s.tar")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1).filter(
    lambda name: "::" not in name
)


@given(NAMES, st.sampled_from(["gs://b/s.tar", "/in/s.tar", "/a::b/s.tar"]))
def test_keys_stand_for_their_uris(name: str, shard: str) -> None:
    uri = member_uris.join("tar", shard, name.strip(":") or "a")
    assert member_uris.from_key(member_uris.to_key(uri)) == uri


def test_keys_of_a_shard_are_beside_each_other() -> None:
    uris = [member_uris.join("tar", f"gs://b/{shard}.tar", name) for name in "ab" for shard in "123"]
    keys = sorted(map(member_uris.to_key, [*uris, "gs://b/1.jpg", "gs://b/2.tar"]))
    assert keys == [
        "gs://b/1.jpg",
        *("gs://b/1.tar::tar://a", "gs://b/1.tar::tar://b"),
        *("gs://b/2.tar", "gs://b/2.tar::tar://a", "gs://b/2.tar::tar://b"),
        *("gs://b/3.tar::tar://a", "gs://b/3.tar::tar://b"),
    ]
