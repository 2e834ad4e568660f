"""sample_images: which images of the sources are drawn, also from shards."""

from __future__ import annotations

from pathlib import Path

import picture_shards
import pytest

from beamsight.models import sample_images
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.imaging.fetch import fetch

PICTURES = {f"{number:02}.jpg": drawn.encode(drawn.draw(number, 40, 40)) for number in range(20)}


def test_the_same_images_are_chosen_each_time(tmp_path: Path) -> None:
    for name, data in PICTURES.items():
        (tmp_path / name).write_bytes(data)
    chosen = sample_images.choose([str(tmp_path)], 5)
    assert len({ref.uri for ref in chosen}) == 5
    assert sample_images.choose([str(tmp_path)], 5) == chosen
    assert sample_images.choose([f"{tmp_path}/*"], 100) == sample_images.choose([str(tmp_path)], 20)


def test_images_in_shards_are_chosen_as_others(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(picture_shards.make_tar(PICTURES))
    (tmp_path / "b.parquet").write_bytes(picture_shards.make_parquet(PICTURES))
    (tmp_path / "cut.tar").write_bytes(picture_shards.make_tar(PICTURES)[:9_000])
    (tmp_path / "c.jpg").write_bytes(PICTURES["00.jpg"])
    chosen = sample_images.choose([str(tmp_path)], 100)
    uris = [ref.uri for ref in chosen]
    assert len(uris) > 41
    assert {f"tar://00.jpg::{tmp_path}/a.tar", f"{tmp_path}/b.parquet#row=3", f"{tmp_path}/c.jpg"} < set(uris)
    assert {fetch(ref).data for ref in chosen} == set(PICTURES.values())


def test_a_source_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder has no files"):
        sample_images.choose([str(tmp_path)], 5)
