"""Zips: what is in them, and where they are broken."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_files import content, opened, peak

from transforms import member_uris
from transforms.errors import Corrupt, TooManyBytes
from transforms.shards import zip_directory
from transforms.shards.container import ShardOptions

FILES = {"z.jpg": b"first", "a/b.PNG": bytes(100_000), "ä猫.gif": os.urandom(5_000), "empty.jpg": b""}
METHODS = {"store": 0, "deflate": 8, "bzip2": 12, "lzma": 14}


def zip_of(files: dict[str, bytes], method: int = 8) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return sink.getvalue()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_images_come_in_the_order_of_their_data(tmp_path: Path, method: int) -> None:
    path = written(tmp_path, zip_of(FILES | {"a.txt": b"text", "__MACOSX/._a.jpg": b"", "folder/": b""}, method))
    found = content(path)
    assert list(found.images.items()) == list(FILES.items())
    assert found[1:] == ({}, {}, None, 3)


def test_the_order_of_the_directory_does_not_matter(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name in "abc":
            file.writestr(f"{name}.jpg", name)
        file.filelist.reverse()
    assert list(content(written(tmp_path, sink.getvalue())).images.items()) == [(f"{n}.jpg", n.encode()) for n in "abc"]


@pytest.mark.parametrize(
    "arguments", [["a.zip"], ["-Z", "bzip2", "a.zip"], ["-0", "a.zip"], ["-fz", "a.zip"], ["-fz-", "-fd", "a.zip"]]
)
def test_zips_of_info_zip(tmp_path: Path, arguments: list[str]) -> None:
    _need("zip")
    files = {"a.jpg": bytes(3_000), "b/c d.png": os.urandom(3_000), "ä.gif": b"gif"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    subprocess.run(["zip", "-q", *arguments, *files], cwd=tmp_path, check=True)
    _same_as_zipfile(tmp_path / "a.zip", len(files))


def test_a_streamed_zip_of_info_zip(tmp_path: Path) -> None:
    """The sizes follow the data."""
    _need("zip")
    (tmp_path / "a.jpg").write_bytes(bytes(3_000))
    piped = subprocess.run(["zip", "-q", "-fz-", "-", "a.jpg"], cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    (tmp_path / "a.zip").write_bytes(piped.stdout)
    _same_as_zipfile(tmp_path / "a.zip", 1)


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}: to run this test, apt-get install {tool}")


def _same_as_zipfile(path: Path, count: int) -> None:
    with zipfile.ZipFile(path) as file:
        expected = {name: file.read(name) for name in file.namelist()}
    found = content(path)
    assert found.images == expected
    assert len(expected) == count
    assert found.broken is None


class _Stream(io.RawIOBase):
    """A pipe, which cannot seek."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(data)  # type: ignore[arg-type]


def test_zip64_with_sizes_after_the_data_and_bytes_before_the_zip(tmp_path: Path) -> None:
    stream = _Stream()
    with zipfile.ZipFile(stream, "w", 8) as file:
        for name, data in FILES.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert content(written(tmp_path, stream.data)).images == FILES
    sink = io.BytesIO(zip_of({}) + b"rubbish")
    sink.seek(0, io.SEEK_END)
    with zipfile.ZipFile(sink, "a") as file:
        file.writestr("a.jpg", b"abc")
    assert content(written(tmp_path, sink.getvalue())).images == {"a.jpg": b"abc"}


def test_numbers_of_64_bits_in_the_directory(tmp_path: Path) -> None:
    """As for a file of more than 4 GB: the numbers are in the extra field, and in an end record of their own."""
    data = zip_of({"a.jpg": b"abc"}, 0)
    at = data.index(b"PK\1\2")
    entry, none = bytearray(data[at : data.index(b"PK\5\6")]), b"\xff" * 4
    entry[20:28], entry[42:46] = none + none, none
    extra = struct.pack("<2H3Q", 1, 24, 3, 3, 0)
    entry[30:32] = struct.pack("<H", len(extra))
    directory = bytes(entry) + extra
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert content(written(tmp_path, data[:at] + directory + end64 + locator + end)).images == {"a.jpg": b"abc"}
    broken = content(written(tmp_path, data[:at] + directory + bytes(56) + locator + end)).broken
    assert broken is not None
    assert "the end record of zip64 is missing" in broken


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    data = bytearray(zip_of({"secret.jpg": b"a", "b.jpg": b"b", "c.jpg": b"c"}, 0))
    first = data.index(b"PK\1\2")
    data[first + 8] |= 1
    data[data.index(b"PK\1\2", first + 4) + 10] = 93  # Zstandard
    found = content(written(tmp_path, bytes(data)))
    assert found.images == {"c.jpg": b"c"}
    assert "encrypted" in found.faults["secret.jpg"]
    assert "method 93" in found.faults["b.jpg"]


def test_the_first_of_two_alike_is_read(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("a.jpg", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.jpg", b"second")
    found = content(written(tmp_path, sink.getvalue()))
    assert found.images == {"a.jpg": b"first"}
    assert found.faults.keys() == {"a.jpg#member=1"}


def test_a_name_that_is_not_utf8_is_the_fault_of_its_member(tmp_path: Path) -> None:
    data = zip_of({"ä.jpg": b"a", "b.jpg": b"b"}).replace("ä".encode(), b"\xff\xfe")
    found = content(written(tmp_path, data))
    assert found.images == {"b.jpg": b"b"}
    assert "UTF-8" in found.faults[r"\xff\xfe.jpg"]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_damaged_data_concern_one_member(tmp_path: Path, method: int) -> None:
    data = bytearray(zip_of({"a.jpg": os.urandom(1_000), "b.jpg": b"b"}, method))
    data[500] ^= 255
    found = content(written(tmp_path, bytes(data)))
    assert found.images == {"b.jpg": b"b"}
    assert found.errors.keys() == {"a.jpg"}
    assert found.errors["a.jpg"].startswith("Corrupt: a.jpg ")


def test_the_declared_size_is_checked_before_the_data_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, zip_of({"a.jpg": bytes(1_001), "b.jpg": bytes(1_000)}))
    with opened(path, ShardOptions(max_bytes=1_000)) as container:
        large, small = container.members()
        assert container.read(small) == bytes(1_000)
        with pytest.raises(TooManyBytes, match=r"a\.jpg has 1,001 bytes, more than --max-bytes 1,000"):
            container.read(large)


_BOMB = """
members = list(container.members())
before = megabytes()
for member in members:
    try:
        container.read(member)
    except Exception as error:
        print(type(error).__name__)
print(megabytes() - before)
"""


@pytest.mark.parametrize("method", [8, 12, 14])
def test_a_bomb_with_a_small_declared_size_takes_little_memory(tmp_path: Path, method: int) -> None:
    data = bytearray(zip_of({"a.jpg": bytes(50 << 20)}, method))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 1_000)
    path = written(tmp_path, bytes(data))
    error, megabytes = peak(_BOMB, path)
    assert error == "Corrupt"
    assert int(megabytes) < 20
    with opened(path) as container, pytest.raises(Corrupt, match=r"size of 1,000 bytes|decompressed"):
        container.read(next(container.members()))


def test_entries_that_overlap_are_refused(tmp_path: Path) -> None:
    data = zip_of({"a.jpg": b"a" * 50, "b.jpg": b"b" * 50, "c.jpg": b"c" * 50}, 0)
    start = data.index(b"PK\1\2")
    third = data.rindex(b"PK\1\2")
    same = bytearray(data)
    same[third + 42 : third + 46] = struct.pack("<I", data.index(b"PK\3\4", 4))
    long = bytearray(data)
    struct.pack_into("<I", long, data.index(b"PK\1\2", start + 4) + 20, 140)
    for changed in (same, long):
        found = content(written(tmp_path, bytes(changed)))
        assert found.images == {"a.jpg": b"a" * 50}
        assert found.broken is not None
        assert re.search(r"overlaps what follows it, at byte 85 of", found.broken)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-30], "the directory at the end is missing"),
        (lambda data: data[:40], "the directory at the end is missing"),
        (lambda data: data.replace(b"PK\1\2", b"PK\1\1"), "no valid entry"),
        (lambda data: data[:-14] + struct.pack("<2H2IH", 1, 9, 60, 0, 0), "names a directory"),
        (lambda data: data[:-12] + struct.pack("<H2IH", 1, 1 << 31, 0, 0), "at most 1,000,000 in 268,435,456 are read"),
        (lambda data: data[:-10] + struct.pack("<2IH", 1 << 20, 0, 0), "names a directory of 1,048,576 bytes"),
        (lambda data: data[:-10] + struct.pack("<2IH", 52, 1 << 30, 0), "names a directory of 52 bytes"),
    ],
)
def test_a_broken_directory(tmp_path: Path, change: object, reason: str) -> None:
    found = content(written(tmp_path, change(zip_of({"a.jpg": b"abc"}))))  # type: ignore[operator]
    assert found.images == {}
    assert found.broken is not None
    assert reason in found.broken


def test_the_number_of_entries_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_directory, "MAX_ENTRIES", 3)
    broken = content(written(tmp_path, zip_of(FILES))).broken
    assert broken is not None
    assert "the directory has 4 entries" in broken


WHOLE = zip_of({"a.jpg": b"first", "b.txt": b"text", "c.jpg": bytes(700)})


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    data = bytearray(WHOLE)
    data[place] = value
    path = written(tmp_path_factory.getbasetemp(), bytes(data))
    images = content(path).images
    assert all(data in (b"first", bytes(700), b"text") for data in images.values())


@given(st.integers(0, len(WHOLE) - 1))
def test_any_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    found = content(written(tmp_path_factory.getbasetemp(), WHOLE[:cut]))
    assert found.broken is not None
    assert found.images == {}


@pytest.mark.parametrize("name", ["a.jpg", "b/c d#?%.jpg", "./a.jpg", "./b/c.jpg", "ä.jpg"])
def test_fsspec_opens_the_uri_of_a_member(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, zip_of({name: b"abc"}))
    ((found, data),) = content(path).images.items()
    with fsspec.open(member_uris.join("zip", str(path), found)) as file:
        assert file.read() == data == b"abc"
