"""Shards as a user has them: the same pictures loose and in each kind of container."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

Pictures = Mapping[str, bytes]


def make_tar(pictures: Pictures) -> bytes:
    """A tar with the pictures in this order, each with a text beside it, as WebDataset has samples."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in pictures.items():
                for member, content in ((name, data), (name.rpartition(".")[0] + ".cls", b"7")):
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()


def make_zip(pictures: Pictures) -> bytes:
    """A zip with the pictures and a text."""
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in pictures.items():
                file.writestr(name, data)
            file.writestr("readme.txt", "pictures")
        return buffer.getvalue()


def make_parquet(pictures: Pictures) -> bytes:
    """A Parquet file with the pictures as Hugging Face stores them, in several row groups."""
    images = [{"bytes": data, "path": name} for name, data in pictures.items()]
    with io.BytesIO() as buffer:
        pq.write_table(pa.table({"image": images, "label": list(range(len(images)))}), buffer, row_group_size=4)
        return buffer.getvalue()


def make_tfrecord(pictures: Pictures) -> bytes:
    """A TFRecord file of ``tf.train.Example`` with ``image/encoded``."""
    return b"".join(_record(_example(data)) for data in pictures.values())


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _example(data: bytes) -> bytes:
    feature = _field(1, _field(1, data))  # Feature.bytes_list.value
    return _field(1, _field(1, _field(1, b"image/encoded") + _field(2, feature)))  # Example.features.feature


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


MAKERS: dict[str, Callable[[Pictures], bytes]] = {
    ".tar": make_tar,
    ".tar.gz": lambda pictures: gzip.compress(make_tar(pictures)),
    ".zip": make_zip,
    ".parquet": make_parquet,
    ".tfrecord": make_tfrecord,
    ".tfrecord.gz": lambda pictures: gzip.compress(make_tfrecord(pictures)),
}
