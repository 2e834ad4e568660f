"""LocalFiles: what is on a disk, and what a disk can do to us."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
from rights import without_root

from transforms.errors import Changed, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage.base import KeyRange, Stat
from transforms.storage.local import LocalFiles, path_of

disk = LocalFiles()


def in_folder(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def names(prefix: str, **options: Any) -> list[str]:
    return sorted(found.uri for found in disk.walk(prefix, **options))


def test_read_gives_the_bytes_and_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    status = path.stat()
    stat = Stat(str(path), 3, f"{status.st_mtime_ns}-3")
    assert disk.read(str(path)) == (b"abc", stat)
    assert disk.read(str(path), version=stat.version, max_bytes=3, size=3) == (b"abc", stat)
    assert disk.stat(str(path)) == stat
    assert list(disk.walk(f"{tmp_path}/")) == [stat]
    assert disk.read(f"file://{path}") == (b"abc", Stat(f"file://{path}", 3, stat.version))


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert disk.read(str(tmp_path / "a"))[0] == b""


@pytest.mark.parametrize("name", ["a b.jpg", "a#b?c%20.jpg", "ä猫.jpg", "a\nb.jpg", "[a]*.jpg", "ü" * 120])
def test_any_name(tmp_path: Path, name: str) -> None:
    uri = f"file://{tmp_path}/{name}"
    disk.write(uri, b"x")
    assert disk.read(uri)[0] == b"x"
    assert names(f"{tmp_path}/") == [f"{tmp_path}/{name}"]


def test_path_of() -> None:
    assert [path_of(uri) for uri in ("a/b", "/a", "file:///a%20b", "FILE://localhost/a")] == [
        "a/b",
        "/a",
        "/a%20b",
        "/a",
    ]
    with pytest.raises(UsageError, match="file:///a/b"):
        path_of("file://a/b")


def test_another_version_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    listed = disk.stat(str(path)).version
    path.write_bytes(b"abcd")
    with pytest.raises(Changed, match=listed) as caught:
        disk.read(str(path), version=listed)
    assert disk.stat(str(path)).version in str(caught.value)
    assert caught.value.retryable


def test_a_file_that_grows_while_it_is_read_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")

    class GrowsNow(int):  # as a limit it is looked at when the file is open and not yet read
        def __lt__(self, other: object) -> bool:
            with path.open("ab") as file:
                file.write(b"d")
            return False

        __gt__ = __lt__

    with pytest.raises(Changed, match="while it was read"):
        disk.read(str(path), max_bytes=GrowsNow(10))


def test_the_limit_holds_before_a_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: to read it would be noticed
    with pytest.raises(TooManyBytes, match=r"1,099,511,627,776 bytes.*--max-bytes 1,000") as caught:
        disk.read(str(path), max_bytes=1_000)
    assert caught.value.version == disk.stat(str(path)).version


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for uri in (f"{tmp_path}/none", f"{tmp_path}/none/a", f"{tmp_path}/file/a", f"{tmp_path}/file/"):
        for asked in (disk.read, disk.stat, disk.open):
            with pytest.raises(NotFound, match=uri):
                asked(uri)
        disk.delete(uri.rstrip("/") + "/a")


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket", "device", "nul", "long", "loop"])
def test_folders_and_devices_are_permanently_unreadable(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "x")
    if kind == "folder":
        (tmp_path / "x").mkdir()
    elif kind == "fifo":
        os.mkfifo(uri)  # nobody writes to it: to open it the plain way never ends
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("x")
    elif kind == "device":
        uri = "/dev/zero"
    elif kind == "nul":
        uri = f"{tmp_path}/a\0b"
    elif kind == "long":
        uri = f"{tmp_path}/{'x' * 300}"
    else:
        (tmp_path / "x").symlink_to(tmp_path / "x")
    for asked in (disk.read, disk.stat, disk.open):
        with pytest.raises(Unreadable) as caught:
            asked(uri)
        assert not caught.value.retryable


def test_a_missing_permission_is_retryable(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0)
    (tmp_path / "x").mkdir(mode=0)
    with without_root(tmp_path):
        for asked, uri in ((disk.read, "a"), (disk.open, "a"), (disk.read, "x/b"), (disk.stat, "x/b")):
            with pytest.raises(Unreadable, match=f"{uri}: Permission denied.*account") as caught:
                asked(uri)
            assert caught.value.retryable


def test_transient_errors_are_retryable(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "a").touch()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # EMFILE at the next open
    try:
        with pytest.raises(Unreadable) as caught:
            disk.read(str(tmp_path / "a"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.retryable


def test_write_makes_folders_and_overwrites_and_leaves_nothing_beside(tmp_path: Path) -> None:
    uri = f"{tmp_path}/a/b/c.parquet"
    disk.write(uri, b"one")
    disk.write(uri, b"two")
    assert disk.read(uri)[0] == b"two"
    assert in_folder(tmp_path / "a" / "b") == ["c.parquet"]


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    uri = f"{tmp_path}/a"
    disk.write(uri, b"old")
    with pytest.raises(TypeError):
        disk.write(uri, "no bytes")  # type: ignore[arg-type]  # fails when the file beside is open
    assert disk.read(uri)[0] == b"old"
    assert in_folder(tmp_path) == ["a"]


def test_a_write_cut_off_by_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # EFBIG after 64 KiB
    try:
        with pytest.raises(Unreadable, match="cannot write") as caught:
            disk.write(f"{tmp_path}/a", bytes(1 << 17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.retryable
    assert in_folder(tmp_path) == []


def test_where_nothing_can_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for uri in (f"{tmp_path}/file/a", f"{tmp_path}/folder", f"{tmp_path}/a\0b", f"{tmp_path}/{'x' * 300}"):
        with pytest.raises(UsageError, match="cannot write"):
            disk.write(uri, b"")
    assert sorted(in_folder(tmp_path)) == ["file", "folder"]
    with pytest.raises(UsageError):
        disk.delete(f"{tmp_path}/folder")


def test_delete_of_a_missing_file_is_no_error(tmp_path: Path) -> None:
    disk.write(f"{tmp_path}/a", b"")
    disk.delete(f"{tmp_path}/a")
    disk.delete(f"{tmp_path}/a")
    assert in_folder(tmp_path) == []


def test_walk_spells_uris_as_the_prefix_and_leaves_out_what_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "x/b", "x/y/c", ".hidden", "x/.123-ab.tmp", ".git/d"):
        disk.write(f"{tmp_path}/{name}", b"")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    monkeypatch.chdir(tmp_path)
    for prefix in ("", "./", f"{tmp_path}/", f"file://{tmp_path}/", "x/../"):
        assert names(prefix) == [f"{prefix}a", f"{prefix}x/b", f"{prefix}x/y/c"]
        assert names(prefix, recursive=False) == [f"{prefix}a"]
    assert names("none/") == []
    assert names("a/") == []


def test_walk_is_sorted_by_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ["a!", "a.jpg", "a/1", "a/b.c", "a/b/2", "a/b0", "a0", "b", "ä", "猫/x"]
    for path in reversed(paths):
        disk.write(f"{tmp_path}/{path}", b"")
    monkeypatch.chdir(tmp_path)
    for prefix in ("", f"{tmp_path}/"):
        assert [found.uri for found in disk.walk(prefix)] == [prefix + path for path in paths]


def test_walk_of_the_beginning_of_names_and_of_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a1", "a2/x", "a2/y", "a3", "b"):
        disk.write(f"{tmp_path}/{path}", b"")
    monkeypatch.chdir(tmp_path)
    for folder in ("", f"{tmp_path}/", f"file://{tmp_path}/"):
        assert names(f"{folder}a") == [f"{folder}{path}" for path in ("a1", "a2/x", "a2/y", "a3")]
        assert names(f"{folder}a", recursive=False) == [f"{folder}a1", f"{folder}a3"]
        keys = KeyRange(f"{folder}a2/y", f"{folder}b")
        assert names(folder, keys=keys) == [f"{folder}a2/y", f"{folder}a3"]


def test_walk_follows_links_without_loops(tmp_path: Path) -> None:
    disk.write(f"{tmp_path}/in/x/a", b"")
    disk.write(f"{tmp_path}/out/b", b"")
    (tmp_path / "in/x/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/here").symlink_to(".")
    (tmp_path / "in/other").symlink_to(tmp_path / "out")
    (tmp_path / "in/again").symlink_to(tmp_path / "out")  # not its own ancestor: walked twice
    (tmp_path / "in/c").symlink_to(tmp_path / "out/b")
    assert names(f"{tmp_path}/in/") == [f"{tmp_path}/in/{name}" for name in ("again/b", "c", "other/b", "x/a")]


def test_walk_is_lazy_and_tolerates_vanishing_files(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "x/4"):
        disk.write(f"{tmp_path}/{name}", b"")
    found = disk.walk(f"{tmp_path}/")
    first = next(found).uri
    for name in ("1", "2", "3", "x/4"):
        disk.delete(f"{tmp_path}/{name}")
    assert list(found) == []
    assert first in {f"{tmp_path}/{name}" for name in ("1", "2", "3")}
    disk.walk(f"{tmp_path}/")  # never begun: opens nothing


def test_a_folder_that_may_not_be_listed_is_no_empty_folder(tmp_path: Path) -> None:
    disk.write(f"{tmp_path}/x/a", b"")
    (tmp_path / "x").chmod(0)
    try:
        with without_root(tmp_path), pytest.raises(Unreadable, match="x/: Permission denied") as caught:
            names("./")
    finally:
        (tmp_path / "x").chmod(0o700)
    assert caught.value.retryable


def test_it_can_be_pickled(tmp_path: Path) -> None:
    assert names(f"{tmp_path}/") == [*pickle.loads(pickle.dumps(disk)).walk(f"{tmp_path}/")]
