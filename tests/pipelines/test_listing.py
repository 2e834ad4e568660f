"""ListImages: the refs of sources, typed, each URI once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from collecting import run
from gcs_server import Bucket

import beamsight
from transforms.storage import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "c.txt", "deep/d.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"not opened")
    return tmp_path / "in"


def listed(*sources: str, **options: Any) -> list[Any]:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        refs = pipeline | beamsight.ListImages(sources, **options)
        assert refs.element_type is beamsight.ImageRef
        return {"refs": refs}

    return sorted(run(build)["refs"])


def test_refs_have_version_and_size(folder: Path) -> None:
    refs = listed(str(folder))
    assert [Path(ref.uri).name for ref in refs] == ["a.jpg", "b.png", "d.jpg"]
    assert all((ref.version, ref.size) == (files.stat(ref.uri).version, 10) for ref in refs)


def test_an_image_that_two_sources_name_is_listed_once(folder: Path) -> None:
    (folder.parent / "list.csv").write_text(f"picture\n{folder}/a.jpg\n{folder}/a.jpg\n\n")
    refs = listed(str(folder), f"{folder}/*.jpg", str(folder.parent / "list.csv"), uri_column="picture")
    assert sorted(Path(ref.uri).name for ref in refs if ref.fault is None) == ["a.jpg", "b.png", "d.jpg"]
    assert {ref.version is not None for ref in refs if ref.fault is None} == {True}


def test_one_source_may_be_a_string(bucket: Bucket) -> None:
    bucket.put("in/a.jpg", b"")
    (ref,) = run(lambda pipeline: {"refs": pipeline | beamsight.ListImages(bucket.uri("in/"))})["refs"]
    assert ref.uri == bucket.uri("in/a.jpg")
