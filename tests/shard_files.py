"""Shards written in code, and what is read from them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from transforms.errors import BrokenShard, ImageError
from transforms.shards.container import Container, ShardOptions
from transforms.shards.opening import open_shard

DEFAULT = ShardOptions()


class Content(NamedTuple):
    """images: By name. faults and errors: Messages by name. broken: Why the shard could not be read to its end."""

    images: dict[str, bytes]
    faults: dict[str, str]
    errors: dict[str, str]
    broken: str | None
    others: int


@contextmanager
def opened(path: Path | str, options: ShardOptions = DEFAULT) -> Iterator[Container]:
    container = open_shard(str(path), None, options).container
    try:
        yield container
    finally:
        container.close()


def content(path: Path | str, options: ShardOptions = DEFAULT) -> Content:
    """All that is in a shard."""
    found = Content({}, {}, {}, None, 0)
    try:
        with opened(path, options) as container:
            try:
                for member in container.members():
                    member.name.encode()
                    assert member.name not in found.images.keys() | found.faults.keys() | found.errors.keys()
                    if member.fault is not None:
                        found.faults[member.name] = member.fault
                        continue
                    try:
                        found.images[member.name] = container.read(member)
                        assert member.size == len(found.images[member.name])
                    except ImageError as error:
                        found.errors[member.name] = f"{type(error).__name__}: {error}"
            finally:
                found = found._replace(others=container.others)
    except BrokenShard as error:
        return found._replace(broken=str(error))
    return found


def peak(script: str, path: Path) -> list[str]:
    """Run a script on a shard in a process of its own. -> what it prints, with ``megabytes()`` for its peak memory.

    The kernel gives a child the ru_maxrss of its parent, but not the VmHWM.
    """
    done = subprocess.run([sys.executable, "-c", _PEAK + script, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()


_PEAK = """
import re, sys
from pathlib import Path
import pyarrow.parquet
from transforms.shards.opening import open_shard

def megabytes():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

before = megabytes()
container = open_shard(sys.argv[1]).container
"""


def tar_of(files: dict[str, bytes], format_: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format_) as tar:
        for name, data in files.items():
            add(tar, name, data)
    return sink.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), "target.jpg" if kind in b"12" else ""
    tar.addfile(info, io.BytesIO(data))


def record_of(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
