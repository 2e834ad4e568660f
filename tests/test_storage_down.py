"""A storage that is down stops the run, and no image is blamed. Images that are broken or missing stop nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tables
from gcs_server import Bucket, GcsServer

from runners.cli import app, codes
from transforms import outage
from transforms.imaging import drawn

IMAGES = 100


@pytest.fixture
def full(bucket: Bucket, quick_retries: object) -> Bucket:
    for number in range(IMAGES):
        bucket.put(f"in/{number:03}.jpg", drawn.encode(drawn.draw(number, 40, 40)))
    return bucket


def command(images: str, bucket: Bucket, classifier: str, *options: str) -> list[str]:
    models = ["--classifier", classifier, "--embedder", "none"]
    return ["run", "--images", images, "--output", bucket.uri("out"), *models, "--max-failures", "100%", *options]


def attempts(bucket: Bucket, tmp_path: Path) -> dict[str, int]:
    """The number of attempts of each image that failed. A unit that is repeated on the same day replaces its rows."""
    found: dict[str, int] = {}
    for row in tables.rows(bucket, "failures", tmp_path):
        name = row["uri"].rpartition("/")[2]
        found[name] = max(row["attempt"], found.get(name, 0))
    return found


@pytest.mark.parametrize("options", [(), ("--runner=BundleBasedDirectRunner",)])
def test_an_outage_stops_the_run_and_uses_no_attempts(
    gcs: GcsServer,
    full: Bucket,
    tmp_path: Path,
    tiny_classifier: str,
    options: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = command(full.uri("in/*.jpg"), full, tiny_classifier, *options)
    gcs.faults = lambda _, path: 503 if "in%2F" in path and "alt=media" in path else None
    assert app.main([*arguments, "--quiet"]) == codes.RUN_FAILED
    said = capsys.readouterr().err
    assert re.match(rf"beamsight: the run failed: gs://{full.name} does not answer: \d+ reads in a row failed", said)
    assert "503" in said
    assert len(said.splitlines()) == 2
    assert len(set(gcs.media())) < IMAGES / 2  # it gives up early
    assert not [name for name in full.names() if name.endswith(".parquet")]

    gcs.faults = None
    assert app.main(arguments) == codes.DONE
    assert len(tables.by_uri(tables.rows(full, "predictions", tmp_path))) == IMAGES
    assert attempts(full, tmp_path) == {}
    assert not [name for name in full.names() if name.startswith(("out/_work/units/", "out/_work/started/"))]


def test_an_outage_that_meets_few_images_uses_no_attempts(
    gcs: GcsServer, full: Bucket, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(full.uri("in/00[0-4].jpg"), full, tiny_classifier)
    gcs.faults = lambda _, path: 503 if "/o/in%2F" in path else None
    assert app.main([*arguments, "--quiet"]) == codes.RUN_FAILED
    assert f"gs://{full.name} does not answer: 6 reads in a row failed" in capsys.readouterr().err

    gcs.faults = lambda _, path: 503 if "/o/in%2F003" in path else None
    assert app.main(arguments) == codes.DONE
    assert attempts(full, tmp_path) == {"003.jpg": 1}


def test_an_outage_in_the_middle_keeps_finished_units(
    gcs: GcsServer, full: Bucket, tmp_path: Path, tiny_classifier: str
) -> None:
    def down(_: str, path: str) -> int | None:
        finished = any(name.startswith("out/_work/units/") for name in full.gcs.storage.objects[full.name])
        return 503 if finished and "in%2F" in path else None

    arguments = command(full.uri("in/*.jpg"), full, tiny_classifier, "--unit-size", "25")
    gcs.faults = down
    assert app.main(arguments) == codes.RUN_FAILED
    assert 0 < sum(name.startswith("out/_work/units/") for name in full.names()) < IMAGES / 25
    gcs.faults = None
    assert app.main(arguments) == codes.DONE
    assert len(tables.by_uri(tables.rows(full, "predictions", tmp_path))) == IMAGES
    assert attempts(full, tmp_path) == {}


def test_a_few_images_that_cannot_be_read_stop_nothing(
    gcs: GcsServer, full: Bucket, tmp_path: Path, tiny_classifier: str
) -> None:
    broken = {f"{number:03}.jpg": 1 for number in range(0, IMAGES, 10)}
    gcs.faults = lambda _, path: 503 if any(name in path for name in broken) and "alt=media" in path else None
    assert app.main(command(full.uri("in/*.jpg"), full, tiny_classifier)) == codes.DONE
    assert attempts(full, tmp_path) == broken
    assert len(tables.rows(full, "predictions", tmp_path)) == IMAGES - len(broken)


def test_images_of_a_manifest_may_come_later(
    bucket: Bucket, quick_retries: object, tmp_path: Path, tiny_classifier: str
) -> None:
    names = [f"{number:03}.jpg" for number in range(3 * outage.LIMIT)]
    (tmp_path / "list.txt").write_text("".join(f"{bucket.uri(f'in/{name}')}\n" for name in names), encoding="utf-8")
    arguments = command(str(tmp_path / "list.txt"), bucket, tiny_classifier, "--max-attempts", "3")
    assert app.main(arguments) == codes.DONE  # none is there, which is no outage
    assert attempts(bucket, tmp_path) == dict.fromkeys(names, 1)
    assert all(row["error"] == "NotFound" and row["retryable"] for row in tables.rows(bucket, "failures", tmp_path))

    bucket.put("in/007.jpg", drawn.encode(drawn.draw(7, 40, 40)))
    for _ in range(3):
        assert app.main(arguments) == codes.DONE
    assert [row["uri"] for row in tables.rows(bucket, "predictions", tmp_path)] == [bucket.uri("in/007.jpg")]
    assert {name: number for name, number in attempts(bucket, tmp_path).items() if name != "007.jpg"} == {
        name: 3 for name in names if name != "007.jpg"
    }
