"""Fetch, decode and fit of one image, for all models that lack it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gcs_server import Bucket

from beamsight.models import registry
from transforms import counts
from transforms.imaging import decode, drawn, fit, prepare
from transforms.imaging.prepare import Failed, Limits, Prepared
from transforms.records import Failure, ImageRef, Work
from transforms.storage import files

B7, B6 = registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed")
SPECS = {"p": B7, "e": B6}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(drawn.encode(drawn.draw(1, 1500, 1400)))
    return path


def work_of(path: Path, *tables: str) -> Work:
    stat = files.stat(str(path))
    return Work(ImageRef(stat.uri, stat.version, stat.size), tables)


def test_each_model_gets_its_own_pixels(photo: Path) -> None:
    work = work_of(photo, "p", "e")
    image = prepare.prepare(work, SPECS, Limits())
    assert isinstance(image, Prepared)
    data = photo.read_bytes()
    assert (image.version, image.sha256) == (work.ref.version, hashlib.sha256(data).hexdigest())
    assert (image.width, image.height) == (1500, 1400)
    scaled = decode.decode_image(data, min_side=fit.DRAFT_SIDE)
    for table, spec in SPECS.items():
        np.testing.assert_array_equal(image.pixels[table], fit.fit_image(scaled.image, spec))
    assert image.tally[counts.BYTES] == len(data)


def test_a_model_gets_the_same_pixels_whichever_other_runs_beside_it(photo: Path) -> None:
    alone = prepare.prepare(work_of(photo, "e"), SPECS, Limits())
    beside = prepare.prepare(work_of(photo, "p", "e"), SPECS, Limits())
    assert isinstance(alone, Prepared)
    assert isinstance(beside, Prepared)
    assert alone.pixels.keys() == {"e"}
    np.testing.assert_array_equal(alone.pixels["e"], beside.pixels["e"])


def test_a_broken_image_becomes_a_failure_with_its_version(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(b"no picture")
    work = Work(ImageRef(str(path)), ("p", "e"))  # as from a manifest, without a version
    failed = prepare.prepare(work, SPECS, Limits())
    assert isinstance(failed, Failed)
    message = failed.failure.message
    assert "jpg" in message or "image" in message
    assert failed.failure == Failure(
        uri=str(path),
        version=files.stat(str(path)).version,
        stage="decode",
        error="NotAnImage",
        message=message,
        retryable=False,
        tables=("p", "e"),
    )
    assert failed.tally[counts.IMAGES] == 1


@pytest.mark.parametrize(
    ("limits", "stage", "error"),
    [(Limits(max_bytes=1000), "fetch", "TooManyBytes"), (Limits(max_pixels=1000), "decode", "TooManyPixels")],
)
def test_limits(photo: Path, limits: Limits, stage: str, error: str) -> None:
    failed = prepare.prepare(work_of(photo, "p"), SPECS, limits)
    assert isinstance(failed, Failed)
    assert (failed.failure.stage, failed.failure.error) == (stage, error)


def test_an_image_that_changed_since_it_was_listed_is_for_the_next_run(photo: Path) -> None:
    work = work_of(photo, "p")
    photo.write_bytes(drawn.encode(drawn.draw(2, 64, 64)))
    failed = prepare.prepare(work, SPECS, Limits())
    assert isinstance(failed, Failed)
    assert (failed.failure.error, failed.failure.retryable) == ("Changed", True)


def test_a_line_that_names_no_image() -> None:
    failed = prepare.prepare(Work(ImageRef("l.txt:3", "7", None, "line 3 is empty"), ("p",)), SPECS, Limits())
    assert isinstance(failed, Failed)
    assert failed.failure == Failure("l.txt:3", "7", "list", "ListError", "line 3 is empty", False, ("p",))


@pytest.mark.parametrize(
    ("uri", "stage"),
    [
        ("gs://", "list"),
        ("gs://bucket", "list"),
        ("file://host/a.jpg", "list"),
        ("/nowhere/a.jpg", "fetch"),
        ("nul\0.jpg", "fetch"),
        ("/" + "x" * 5000, "fetch"),
    ],
)
def test_no_uri_stops_a_run(uri: str, stage: str, gcs: object) -> None:
    failed = prepare.prepare(Work(ImageRef(uri), ("p",)), SPECS, Limits())
    assert isinstance(failed, Failed)
    assert failed.failure.stage == stage


def test_a_download_has_the_time_of_its_limit_and_is_tried_again_by_the_next_run(bucket: Bucket) -> None:
    data = drawn.encode(drawn.draw(3, 64, 64))
    work = Work(ImageRef(bucket.uri("a.jpg"), bucket.put("a.jpg", data), len(data)), ("p",))
    bucket.gcs.faults = lambda *_: "drip"
    failed = prepare.prepare(work, SPECS, Limits(fetch_timeout=0.5))
    assert isinstance(failed, Failed)
    failure = failed.failure
    assert (failure.stage, failure.error, failure.retryable) == ("fetch", "Unreadable", True)
    assert "did not end within 0.5 s; allow more time with --fetch-timeout" in failure.message
    bucket.gcs.faults = None
    assert isinstance(prepare.prepare(work, SPECS, Limits(fetch_timeout=60)), Prepared)


def test_an_image_that_arrives_damaged_is_never_decoded(bucket: Bucket) -> None:
    data = drawn.encode(drawn.draw(4, 64, 64), "bmp")
    work = Work(ImageRef(bucket.uri("a.bmp"), bucket.put("a.bmp", data), len(data)), ("p",))
    for faults in (["short and corrupt"], ["cut", "cut"], ["corrupt start"]):
        left = iter(faults)
        bucket.gcs.faults = lambda *_: next(left, None)  # noqa: B023 - asked within the loop
        image = prepare.prepare(work, SPECS, Limits())
        assert isinstance(image, Prepared)
        assert image.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("version", "retryable"), [(None, True), ("7-7", False)])
def test_an_image_may_be_uploaded_after_its_manifest(tmp_path: Path, version: str | None, retryable: bool) -> None:
    failed = prepare.prepare(Work(ImageRef(str(tmp_path / "later.jpg"), version), ("p",)), SPECS, Limits())
    assert isinstance(failed, Failed)
    assert (failed.failure.error, failed.failure.retryable) == ("NotFound", retryable)
