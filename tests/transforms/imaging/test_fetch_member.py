"""fetch: an image in a shard is read like a file, and a whole shard is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import picture_shards
import pytest

from transforms.errors import Changed, ListError, NotFound, TooManyBytes
from transforms.imaging.fetch import fetch
from transforms.records import ImageRef
from transforms.storage import files

PICTURES = {"a.jpg": b"first", "b.jpg": b"second"}


@pytest.mark.parametrize(
    ("suffix", "uri"),
    [
        (".tar", "tar://b.jpg::{}"),
        (".tar.gz", "tar://b.jpg::{}"),
        (".zip", "zip://b.jpg::{}"),
        (".parquet", "{}#row=1"),
        (".tfrecord", "{}#record=1"),
    ],
)
def test_an_image_in_a_shard(tmp_path: Path, suffix: str, uri: str) -> None:
    shard = tmp_path / f"s{suffix}"
    shard.write_bytes(picture_shards.MAKERS[suffix](PICTURES))
    version = files.stat(str(shard)).version
    fetched = fetch(ImageRef(uri.format(shard), version))
    assert fetched == (b"second", version, hashlib.sha256(b"second").hexdigest())
    assert fetch(ImageRef(uri.format(shard))) == fetched
    with pytest.raises(TooManyBytes):
        fetch(ImageRef(uri.format(shard), version), 5)
    with pytest.raises(Changed):
        fetch(ImageRef(uri.format(shard), "1-1"))
    with pytest.raises(NotFound):
        fetch(ImageRef(uri.format(shard).replace("b.jpg", "c.jpg").replace("=1", "=2")))


def test_a_shard_is_no_image(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    shard.write_bytes(picture_shards.make_tar(PICTURES))
    with pytest.raises(ListError, match="is a shard of many images; pass it as a source"):
        fetch(ImageRef(str(shard)))
