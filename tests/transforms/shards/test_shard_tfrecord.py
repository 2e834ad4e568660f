"""TFRecord files: what is in them, and where they are broken."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from shard_files import Content, content, masked, opened, record_of

from transforms.errors import TooManyBytes
from transforms.shards.container import ShardOptions

IMAGES = [b"first", b"", os.urandom(200_000), b"last"]


def example(**values: Any) -> bytes:
    feature = {}
    for name, value in values.items():
        if isinstance(value, bytes):
            value = [value]
        if all(isinstance(each, bytes) for each in value):
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        else:
            feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    data: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return data


def image(data: bytes) -> bytes:
    return example(**{"image/encoded": data, "image/class/label": [7], "image/format": b"jpeg"})


def of_records(tmp_path: Path, *records: bytes, options: ShardOptions = ShardOptions()) -> Content:  # noqa: B008
    (tmp_path / "a.tfrecord").write_bytes(b"".join(records))
    return content(tmp_path / "a.tfrecord", options)


@pytest.mark.parametrize("compression", [None, "GZIP"])
def test_tensorflow_writes_what_is_read(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for data in IMAGES:
            writer.write(image(data))
    found = content(path)
    assert found == ({str(number): data for number, data in enumerate(IMAGES)}, {}, {}, None, 0)
    with opened(path) as container:
        assert container.kind == "tfrecord"


def test_another_feature(tmp_path: Path) -> None:
    record = record_of(example(jpeg=b"abc"))
    assert of_records(tmp_path, record, options=ShardOptions(image_feature="jpeg")).images == {"0": b"abc"}


def test_records_without_one_image_are_faults(tmp_path: Path) -> None:
    wrong = [
        example(label=[1], jpeg=b"abc"),
        example(**{"image/encoded": [1]}),
        example(**{"image/encoded": [b"a", b"b"]}),
        tf.train.Example().SerializeToString(),
        b"\xff\xff no example",
    ]
    found = of_records(tmp_path, *(record_of(data) for data in [*wrong, image(b"abc")]))
    assert found.images == {"5": b"abc"}
    reasons = ["features are 'jpeg', 'label'; .*--image-feature", "int64_list", "2 values", "are none", "no.* tf.train"]
    assert len(found.faults) == len(reasons)
    for number, reason in enumerate(reasons):
        assert re.search(reason, found.faults[str(number)]), found.faults
    assert found.broken is None


def test_a_wrong_checksum_of_data_concerns_one_record(tmp_path: Path) -> None:
    damaged = bytearray(record_of(image(b"abc")))
    damaged[20] ^= 1
    found = of_records(tmp_path, record_of(image(b"a")), bytes(damaged), record_of(image(b"b")))
    assert found.images == {"0": b"a", "2": b"b"}
    assert found.errors == {"1": "Corrupt: record 1 does not match its checksum; create the file again"}


def test_a_long_record_is_not_read(tmp_path: Path) -> None:
    """The file has a hole of 3 GB, which is more than a record may have."""
    path, length = tmp_path / "a.tfrecord", struct.pack("<Q", 3 << 30)
    with path.open("wb") as file:
        file.write(record_of(image(b"a")) + length + masked(length))
        file.seek((3 << 30) + 4, os.SEEK_CUR)
        file.write(record_of(image(b"b")))
    found = content(path)
    assert found.images == {"0": b"a", "2": b"b"}
    assert found.errors["1"].startswith("TooManyBytes: record 1 has 3,221,225,472 bytes, more than --max-bytes")


def test_an_image_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(record_of(image(bytes(1_001))) + record_of(image(bytes(1_000))))
    with opened(tmp_path / "a.tfrecord", ShardOptions(max_bytes=1_000)) as container:
        large, small = container.members()
        assert (large.size, small.size) == (1_001, 1_000)
        assert container.read(small) == bytes(1_000)
        with pytest.raises(TooManyBytes, match="record 0 has 1,001 bytes"):
            container.read(large)


WHOLE = [record_of(image(data)) for data in (b"first", bytes(300), b"last")]


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"x" * 11, "ends within the length of record 1, at byte {at} of {end}"),
        (b"x" * 50, "a wrong length for record 1, at byte {at} of {end}"),
        (WHOLE[1][:-1], "ends within record 1, which starts at byte {at}, at byte {end} of {end}"),
    ],
)
def test_a_broken_end_is_named(tmp_path: Path, rest: bytes, reason: str) -> None:
    found = of_records(tmp_path, WHOLE[0], rest)
    assert found.images == {"0": b"first"}
    assert found.broken is not None
    assert reason.format(at=len(WHOLE[0]), end=len(WHOLE[0]) + len(rest)) in found.broken


@given(st.integers(1, sum(map(len, WHOLE)) - 1))
def test_any_cut_gives_the_first_records(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.tfrecord"
    path.write_bytes(b"".join(WHOLE)[:cut])
    found = content(path)
    ends = [len(WHOLE[0]), len(WHOLE[0]) + len(WHOLE[1])]
    whole = sum(end <= cut for end in ends)
    assert list(found.images.values()) == [b"first", bytes(300)][:whole]
    assert (found.broken is None) == (cut in ends)


@given(st.integers(0, sum(map(len, WHOLE)) - 1), st.integers(1, 255))
def test_no_changed_byte_is_read(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    data = bytearray(b"".join(WHOLE))
    data[place] ^= change
    path = tmp_path_factory.getbasetemp() / "changed.tfrecord"
    path.write_bytes(data)
    found = content(path)
    assert found.images.items() <= {"0": b"first", "1": bytes(300), "2": b"last"}.items()
    assert found.errors or found.broken
