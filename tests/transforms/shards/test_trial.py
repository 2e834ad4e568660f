"""trial: the shards that end a process are found, and no others."""

from __future__ import annotations

import signal
from pathlib import Path

import fragile_decoder
import picture_shards
import pytest

from transforms.errors import Stopped
from transforms.records import ImageRef
from transforms.shards import trial
from transforms.shards.container import ShardOptions


def put(folder: Path, *names: str) -> list[ImageRef]:
    for name in names:
        (folder / name).write_bytes(picture_shards.make_tar({"a.jpg": b"first", "b.jpg": b"second"}))
    return [ImageRef(str(folder / name)) for name in names]


def nothing() -> None:
    pass


def test_all_that_end_the_process_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragile_decoder.install(tmp_path / "site", monkeypatch)
    (tmp_path / "in").mkdir()
    shards = put(tmp_path / "in", "a.tar", "abort-1.tar", "b.tar", "abort-2.tar", "abort-3.tar", "c.tar")
    broken, missing = ImageRef(str(tmp_path / "in/broken.tar")), ImageRef(str(tmp_path / "in/missing.tar"))
    Path(broken.uri).write_bytes(b"no tar")
    fatal = trial.find_fatal([broken, *shards, missing], ShardOptions(), nothing)
    assert list(fatal) == [f"{tmp_path}/in/abort-{number}.tar" for number in (1, 2, 3)]
    for uri, error in fatal.items():
        assert str(error) == f"{uri} ended the process that read it, with signal {signal.SIGABRT.name}"


def test_no_child_starts_without_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/there/is/no/python")
    assert trial.find_fatal([], ShardOptions(), nothing) == {}


def test_a_request_to_stop_ends_the_child(tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped("on request")

    with pytest.raises(Stopped, match="on request"):
        trial.find_fatal(put(tmp_path, "a.tar"), ShardOptions(), stop)
