"""Markers of units in progress: which images they make suspects, and when they are deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.errors import EngineError, StorageDown
from transforms.history import unfinished
from transforms.records import ImageRef, Unit, Work
from transforms.storage import files
from transforms.tables import layout


def unit(name: str, *uris: str) -> Unit:
    return Unit(name, tuple(Work(ImageRef(uri), ("p",)) for uri in uris), "2026-11-20")


def die(output: str, run_id: str, unit_: Unit) -> None:
    """Leave what a process leaves that dies in the middle of a unit."""
    with pytest.raises(StorageDown), unfinished.mark(output, run_id, unit_):
        raise StorageDown("or the process")


def suspects(output: str, run_id: str, unit_: Unit) -> set[str]:
    with unfinished.mark(output, run_id, unit_) as found:
        assert [file.uri for file in files.walk(layout.markers(output)) if run_id in file.uri]
    return set(found)


def markers(output: str) -> list[str]:
    return sorted(files.name(file.uri) for file in files.walk(layout.markers(output)))


def test_nothing_is_suspect_if_no_process_died(tmp_path: Path) -> None:
    assert suspects(str(tmp_path), "r1", unit("u", "a", "b")) == set()
    assert suspects(str(tmp_path), "r1", unit("u", "a", "b")) == set()
    assert markers(str(tmp_path)) == []


def test_a_unit_is_suspect_if_its_process_died_in_the_same_run(tmp_path: Path) -> None:
    die(str(tmp_path), "r1", unit("u", "a", "b"))
    assert suspects(str(tmp_path), "r1", unit("v", "c")) == set()
    assert suspects(str(tmp_path), "r1", unit("u", "a", "b")) == {"a", "b"}
    assert suspects(str(tmp_path), "r1", unit("u", "a", "b")) == set()


def test_images_are_suspect_in_whatever_unit_of_the_next_run(tmp_path: Path) -> None:
    die(str(tmp_path), "r1", unit("u", "a", "b"))
    die(str(tmp_path), "r1", unit("v", "c", "d"))
    assert suspects(str(tmp_path), "r2", unit("w", "b", "d", "e")) == {"b", "d"}
    assert markers(str(tmp_path)) == ["r1-u.json", "r1-v.json"]  # until a run ends well
    unfinished.clear(str(tmp_path))
    assert markers(str(tmp_path)) == []


def test_an_incomplete_marker_is_that_of_a_unit_that_had_not_started(tmp_path: Path) -> None:
    files.write(layout.marker(str(tmp_path), "r1", "u"), b'["a", ')
    assert suspects(str(tmp_path), "r2", unit("u", "a")) == set()


def test_an_error_that_a_process_survives_leaves_no_marker(tmp_path: Path) -> None:
    with pytest.raises(EngineError), unfinished.mark(str(tmp_path), "r1", unit("u", "a")):
        raise EngineError("broken")
    assert markers(str(tmp_path)) == []
