"""Tars: what is in them, and where they are broken."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset
from hypothesis import example, given
from hypothesis import strategies as st
from shard_files import add, content, opened, peak, tar_of

from transforms import member_uris
from transforms.errors import TooManyBytes
from transforms.shards.container import ShardOptions

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "folder/" * 30 + "long.jpg"
FILES = {"a.jpg": b"first", "b/c.PNG": bytes(512), "empty.gif": b"", "large.tif": bytes(range(256)) * 9}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("format_", FORMATS)
def test_images_come_in_order_with_their_bytes(tmp_path: Path, format_: int) -> None:
    files = FILES | ({} if format_ == tarfile.USTAR_FORMAT else {LONG: b"long", "ä猫.jpg": b"cat"})
    found = content(written(tmp_path / "a.tar", tar_of(files, format_)))
    assert list(found.images.items()) == list(files.items())
    assert found[1:] == ({}, {}, None, 0)


def checksum(block: bytearray) -> int:
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:512])


def test_a_tar_of_the_oldest_kind(tmp_path: Path) -> None:
    block = bytearray(tar_of({"a.jpg": b"abc"}, tarfile.USTAR_FORMAT))
    block[156:157] = b"\0"
    block[257:265] = bytes(8)
    block[148:156] = b"%06o\0 " % checksum(block)
    assert content(written(tmp_path / "a.bin", bytes(block))).images == {"a.jpg": b"abc"}


def test_a_size_that_needs_256_as_its_base(tmp_path: Path) -> None:
    block = bytearray(tar_of({"a.jpg": b"abc", "b.jpg": b""}, tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + bytes(10) + b"\3"
    block[148:156] = b"%06o\0 " % checksum(block)
    assert content(written(tmp_path / "a.tar", bytes(block))).images == {"a.jpg": b"abc", "b.jpg": b""}


def test_others_are_counted_and_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "folder.jpg", kind=tarfile.DIRTYPE)
        add(tar, "a.json", b"{}")
        add(tar, "link.json", kind=tarfile.SYMTYPE)
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE)):
            add(tar, f"{name}.jpg", kind=kind)
        add(tar, "d.jpg", kind=tarfile.CHRTYPE)
        add(tar, "u.jpg", b"unknown", b"Q")
        add(tar, "a.jpg", b"image")
    found = content(tmp_path / "a.tar")
    assert found.images == {"a.jpg": b"image"}
    assert found.others == 3
    assert found.broken is None
    reasons = {"s": "symbolic link", "h": "hard link", "f": "a fifo", "d": "a device", "u": "type b'Q'"}
    assert found.faults.keys() == {f"{name}.jpg" for name in reasons}
    assert all(reason in found.faults[f"{name}.jpg"] for name, reason in reasons.items())


@pytest.mark.parametrize("format_", ["gnu", "posix"])
def test_sparse_files_are_faults_and_what_follows_is_read(tmp_path: Path, format_: str) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        for hole in range(30):  # more than the header has room for
            file.seek(hole * 65_536)
            file.write(b"x")
    (tmp_path / "z.jpg").write_bytes(b"after")
    command = ["tar", "--sparse", f"--format={format_}", "-cf", "a.tar", "sparse.jpg", "z.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = content(tmp_path / "a.tar")
    assert found.images == {"z.jpg": b"after"}
    if found.faults:  # the file system may store no holes
        assert "--sparse" in found.faults["sparse.jpg"]
    assert found.broken is None


def test_an_image_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", tar_of({"a.jpg": bytes(11), "b.jpg": bytes(10)}))
    with opened(path, ShardOptions(max_bytes=10)) as container:
        large, small = container.members()
        assert container.read(small) == bytes(10)
        with pytest.raises(TooManyBytes, match=r"a\.jpg has 11 bytes, more than --max-bytes 10"):
            container.read(large)


WHOLE = tar_of({"a.jpg": b"first", "b.txt": b"text", LONG: bytes(700), "ä.jpg": b"last"})


@given(st.integers(0, len(WHOLE) - 1))
@example(512)
@example(1_024)
def test_any_cut_gives_the_first_members(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = written(tmp_path_factory.getbasetemp() / "cut.tar", WHOLE[:cut])
    images = {"a.jpg": b"first", LONG: bytes(700), "ä.jpg": b"last"}
    found = content(path)
    assert list(found.images.items()) == list(images.items())[: len(found.images)]
    assert found.faults == found.errors == {}
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        ends = {0, *(member.offset_data + -(-member.size // 512) * 512 for member in tar)}
    end_marker = max(ends)
    whole = cut in ends or cut >= end_marker + 512
    assert (found.broken is None) == (whole and cut > 0)
    if cut > 1_536:
        assert "a.jpg" in found.images


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= change
    content(written(tmp_path_factory.getbasetemp() / "changed.tar", bytes(data)))


ONE = tar_of({"a.jpg": b"abc"}, tarfile.USTAR_FORMAT)[:1_024]


def header(name: str, size: int = 0, kind: bytes = b"0", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"\xff" * 512, "no valid header .* at byte 1,024 of 1,536"),
        (ONE[:148] + b"7" + ONE[149:], "bad checksum.* at byte 1,024 of 2,048"),
        (header("b.jpg", 5_000), "ends within 'b.jpg', whose data starts at byte 1,536, at byte 1,536 of 1,536"),
        (header("b.jpg", 1 << 60), "ends within 'b.jpg'"),
        (header("b.jpg", -5), "the size -5, at byte 1,024"),
        (header("x", 2 << 20, b"x"), "extended header has 2,097,152 bytes, more than 1,048,576"),
        (header("x", 1 << 60, b"L"), "extended header has"),
        (header("x", 500, b"x"), "ends within an extended header"),
        (header("x", 9, b"x", b"99 path=a"), "an extended header is not valid, at byte 1,536"),
        (header("x", 9, b"x", b"path=a\n  "), "an extended header is not valid"),
        (header("x", 12, b"x", b"12 size=-99\n") + header("b.jpg"), "has the size '-99'"),
        (header("x", 11, b"x", b"11 path=ab\n"), "ends within a member"),
        (bytes(1_024) + ONE, "other bytes follow the end of the tar, at byte 2,048 of 3,072"),
        (bytes(512) + b"x", "other bytes follow the end of the tar, at byte 1,536"),
        (b"x" * 100, "ends within a header, at byte 1,024 of 1,124"),
    ],
)
def test_what_cannot_be_read_is_named_after_the_members_before_it(tmp_path: Path, rest: bytes, reason: str) -> None:
    found = content(written(tmp_path / "a.tar", ONE + rest))
    assert found.images == {"a.jpg": b"abc"}
    assert found.broken is not None
    assert re.search(reason, found.broken), found.broken


def test_the_end_marker_may_be_missing_or_long(tmp_path: Path) -> None:
    for end in (b"", bytes(512), bytes(20_480)):
        assert content(written(tmp_path / "a.tar", ONE + end)) == ({"a.jpg": b"abc"}, {}, {}, None, 0)
    assert content(written(tmp_path / "empty.tar", bytes(10_240))) == ({}, {}, {}, None, 0)


def test_a_path_for_all_members_is_for_those_without_their_own(tmp_path: Path) -> None:
    shared, own = b"16 path=all.jpg\n", b"16 path=own.jpg\n"
    data = header("g", 16, b"g", shared) + header("x", 16, b"x", own) + header("1.txt") + header("2.txt")
    assert list(content(written(tmp_path / "a.tar", data)).images) == ["own.jpg", "all.jpg"]


def test_webdataset_writes_what_is_read(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with webdataset.TarWriter(str(tmp_path / "shard.tar")) as sink:
        for number in range(3):
            sink.write({"__key__": f"{number:04}", "png": image, "cls": number, "json": {"n": number}})
    found = content(tmp_path / "shard.tar")
    with tarfile.open(tmp_path / "shard.tar") as tar:
        stored = {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith("png")}  # type: ignore[union-attr]
    assert found.images == stored
    assert list(stored) == ["0000.png", "0001.png", "0002.png"]
    assert found.others == 6


@pytest.mark.parametrize("name", ["a.jpg", "b/c d#?%.jpg", "./a.jpg", "./b/c.jpg", "ä.jpg"])
def test_fsspec_opens_the_uri_of_a_member(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.tar", tar_of({name: b"abc"}))
    ((found, data),) = content(path).images.items()
    with fsspec.open(member_uris.join("tar", str(path), found)) as file:
        assert file.read() == data == b"abc"


def test_memory_does_not_depend_on_the_number_of_members(tmp_path: Path) -> None:
    path = tmp_path / "many.tar"
    info = tarfile.TarInfo()
    with path.open("wb") as file:
        for number in range(30_000):
            info.name = f"{number:06}.jpg"
            file.write(info.tobuf(tarfile.USTAR_FORMAT))
    count, megabytes = peak("print(sum(1 for _ in container.members()), megabytes() - before)", path)
    assert int(count) == 30_000
    assert int(megabytes) < 20
