"""BeamFiles, on the two of Beam's file systems that need nothing: a disk, and gs:// on the server of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcs_server import Bucket

from transforms.errors import Changed, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage import beam_files
from transforms.storage.base import Stat
from transforms.storage.beam_files import BeamFiles

beam = BeamFiles()


def in_folder(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def names(prefix: str, *, recursive: bool = True) -> list[str]:
    return sorted(found.uri for found in beam.walk(prefix, recursive=recursive))


@pytest.mark.parametrize("name", ["a.jpg", "a b#c?d%20.jpg", "[a]*.jpg", "ä猫.jpg", "a.gz"])
def test_read_gives_the_bytes_and_what_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"abc")  # no gzip, whatever the name
    uri, stat = str(path), Stat(str(path), 3, f"{int(path.stat().st_mtime)}-3")
    assert beam.stat(uri) == stat
    assert beam.read(uri) == beam.read(uri, stat.version, 3, size=3) == (b"abc", stat)
    assert list(beam.walk(f"{tmp_path}/")) == [stat]
    with beam.open(uri)[0] as file:
        assert file.read() == b"abc"


def test_another_version_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    listed = beam.stat(str(path)).version
    path.write_bytes(b"abcd")
    with pytest.raises(Changed, match=f"{listed} was listed"):
        beam.read(str(path), listed)


def test_the_limit_holds_before_a_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TooManyBytes, match="--max-bytes 1,000"):
        beam.read(str(path), max_bytes=1_000)


def test_errors(tmp_path: Path) -> None:
    for asked in (beam.read, beam.stat, beam.open):
        with pytest.raises(NotFound, match=f"{tmp_path}/none"):
            asked(f"{tmp_path}/none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unreadable) as caught:
        beam.open(f"{tmp_path}/folder")
    assert caught.value.retryable
    (tmp_path / "file").touch()
    with pytest.raises(Unreadable, match="cannot write"):
        beam.write(f"{tmp_path}/file/a", b"")


def test_what_is_not_installed_is_a_usage_error() -> None:
    for uri, extra in (("hdfs://b/a", "hadoop"), ("azfs://b/c/a", "azure")):
        with pytest.raises(UsageError, match=rf"pip install 'apache-beam\[{extra}\]'"):
            beam_files.check(uri)
        with pytest.raises(UsageError, match=uri):
            beam.read(uri)
    assert {"s3", "hdfs", "azfs", "gs"} <= beam_files.schemes()


def test_write_overwrites_and_leaves_nothing_beside(tmp_path: Path) -> None:
    uri = f"{tmp_path}/new/a"
    beam.write(uri, b"one")
    beam.write(uri, b"two")
    assert beam.read(uri)[0] == b"two"
    assert in_folder(tmp_path / "new") == ["a"]


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    uri = f"{tmp_path}/a"
    beam.write(uri, b"old")
    with pytest.raises(Unreadable):
        beam.write(uri, "no bytes")  # type: ignore[arg-type]  # fails when the file beside is open
    assert beam.read(uri)[0] == b"old"
    assert in_folder(tmp_path) == ["a"]


def test_delete(tmp_path: Path) -> None:
    for name in ("a", "b", "*"):
        (tmp_path / name).touch()
    beam.delete(f"{tmp_path}/a")
    beam.delete(f"{tmp_path}/a")
    with pytest.raises(UsageError, match="all files that match"):
        beam.delete(f"{tmp_path}/*")
    assert sorted(in_folder(tmp_path)) == ["*", "b"]


def test_walk(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]*"  # wildcards, and not meant as such
    for name in ("1", "x/2", "x/y/3", ".1-ab.tmp", "x/.2-cd.tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "ab_").mkdir()
    (tmp_path / "ab_" / "4").touch()
    assert names(f"{folder}/") == [f"{folder}/{name}" for name in ("1", "x/2", "x/y/3")]
    assert names(f"{folder}/", recursive=False) == [f"{folder}/1"]
    assert names(f"{tmp_path}/none/") == []


def test_on_an_object_store(bucket: Bucket) -> None:
    uri = bucket.uri("x/a.gz")
    beam.write(uri, b"abc")
    beam.write(uri, b"abcd")
    data, stat = beam.read(uri, max_bytes=4)
    assert data == b"abcd"
    assert bucket.names() == ["x/a.gz"]
    assert beam.read(uri, stat.version) == (data, stat)
    assert list(beam.walk(bucket.uri("x/"))) == list(beam.walk(bucket.uri(""))) == [stat]
    assert names(bucket.uri(""), recursive=False) == []
    with pytest.raises(NotFound):
        beam.read(bucket.uri("none"))
    beam.delete(uri)
    assert bucket.names() == []


def test_a_store_that_does_not_answer_is_retryable(bucket: Bucket) -> None:
    bucket.put("a", b"abc")
    bucket.gcs.faults = lambda *_: 403
    for asked, message in (
        (lambda: beam.read(bucket.uri("a")), "cannot read"),
        (lambda: list(beam.walk(bucket.uri(""))), "cannot list"),
        (lambda: beam.delete(bucket.uri("a")), "cannot delete"),
    ):
        with pytest.raises(Unreadable, match=message) as caught:
            asked()
        assert caught.value.retryable
