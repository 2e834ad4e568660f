"""The whole job, by its command, on a disk, and on gs:// and s3:// over HTTP."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import tables
from bundles import TINY_LABELS
from gcs_server import Bucket, GcsServer
from s3_server import S3Bucket

from runners.cli import app, codes
from transforms.imaging import drawn

Place = Path | Bucket | S3Bucket

GOOD = {f"good-{number}.jpg": drawn.encode(drawn.draw(number, 90 + number, 60)) for number in range(9)}
BROKEN = {
    "empty.jpg": (b"", "decode", "EmptyFile"),
    "text.png": (b"this is no picture", "decode", "NotAnImage"),
    "cut.jpg": (drawn.encode(drawn.draw(50, 200, 200))[:1500], "decode", "Truncated"),
    "bomb.png": (b"", "decode", "TooManyPixels"),  # its bytes are made below
    "heavy.bmp": (drawn.encode(drawn.draw(51, 200, 200), "bmp"), "fetch", "TooManyBytes"),
}


def bomb() -> bytes:
    """A PNG of 100 bytes that says it is 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def put(place: Place, name: str, data: bytes) -> str:
    if isinstance(place, Bucket | S3Bucket):
        place.put(name, data)
        return place.uri(name)
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


@pytest.fixture(params=["disk", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return tmp_path / "disk"
    bucket: Bucket | S3Bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return bucket


def uri(place: Place, name: str) -> str:
    return place.uri(name) if isinstance(place, Bucket | S3Bucket) else str(place / name)


def output(place: Place) -> Place:
    return place if isinstance(place, Bucket | S3Bucket) else place / "out"


def read(place: Place, table: str, tmp_path: Path) -> tables.Rows:
    return tables.rows(output(place), table, tmp_path)


def report(place: Place, number: int = -1) -> dict[str, Any]:
    if isinstance(place, Bucket | S3Bucket):
        texts = [place.get(name) for name in place.names() if name.startswith("out/runs/")]
    else:
        texts = [path.read_bytes() for path in (place / "out" / "runs").iterdir()]
    reports = sorted((json.loads(text) for text in texts), key=lambda each: each["started_at"])
    return dict(reports[number])


def require_same_image(prediction: dict[str, Any], embedding: dict[str, Any], data: bytes) -> None:
    assert prediction["sha256"] == embedding["sha256"] == hashlib.sha256(data).hexdigest()
    assert prediction["version"] == embedding["version"] != ""


def require_best_class(row: dict[str, Any]) -> None:
    assert (row["label"], row["wnid"]) == (TINY_LABELS[row["class_id"]], None)
    assert row["top_k"][0] == {key: row[key] for key in ("class_id", "wnid", "label", "score")}
    assert sum(each["score"] for each in row["top_k"]) == pytest.approx(1, abs=1e-5)


def require_failures(failures: dict[str, dict[str, Any]], expected: dict[str, tuple[str, str]]) -> None:
    assert {name: (row["stage"], row["error"]) for name, row in failures.items()} == expected
    for row in failures.values():
        assert (len(row["tables"]), row["retryable"]) == (2, row["error"] == "NotFound")
        assert "\n" not in row["message"]
        assert row["version"] != ""


def require_counts(counts: dict[str, Any], good: int, failed: int) -> None:
    listed = 9 + 4 + 5 + 5  # two globs overlap, and the manifest names some again
    expected = {
        "listed": listed,
        "duplicates": listed - good - failed,
        "missing": good + failed,
        "images": good + failed,
        "failed": {"decode": 4, "fetch": 2, "list": 1},
    }
    assert {name: counts[name] for name in expected} == expected
    assert set(counts["ok"].values()) == {good}


@pytest.mark.parametrize("place", ["disk", "gs", "s3"], indirect=True)
def test_every_uri_is_in_each_table_or_once_in_the_failures(
    place: Place, tmp_path: Path, tiny_classifier: str, tiny_embedder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {put(place, f"in/{name}", data): data for name, data in GOOD.items()}
    broken = {
        put(place, f"in/deep/er/{name}", bomb() if name == "bomb.png" else data): (stage, error)
        for name, (data, stage, error) in BROKEN.items()
    }
    missing = uri(place, "in/missing.jpg")
    named_twice = sorted(good)[0]
    lines = ["# a comment", "", named_twice, missing, "good-0.jpg", "ftp://old.host/a.jpg", "missing.jpg"]
    manifest = put(place, "in/list.txt", "\n".join(lines).encode())
    command = [
        "run",
        *("--images", uri(place, "in/**.*g")),
        *("--images", uri(place, "in/deep/") + "**"),
        *("--images", manifest),
        *("--output", uri(place, "out")),
        *("--classifier", tiny_classifier, "--embedder", tiny_embedder),
        *("--max-bytes", "100_000", "--max-pixels", "1_000_000", "--max-failures", "100%", "--unit-size", "4"),
    ]

    assert app.main(command) == codes.DONE

    predictions = tables.by_uri(read(place, "predictions", tmp_path))
    embeddings = tables.by_uri(read(place, "embeddings", tmp_path))
    failures = tables.by_uri(read(place, "failures", tmp_path))
    assert set(predictions) == set(embeddings) == set(good)
    for name, data in good.items():
        require_same_image(predictions[name], embeddings[name], data)
        assert (predictions[name]["width"], predictions[name]["height"]) == (90 + int(name[-5]), 60)
        require_best_class(predictions[name])
        assert len(embeddings[name]["embedding"]) == 8
    expected = broken | {missing: ("fetch", "NotFound"), f"{manifest}:6": ("list", "ListError")}
    require_failures(failures, expected)
    assert "--max-pixels" in failures[uri(place, "in/deep/er/bomb.png")]["message"]
    assert "--max-bytes" in failures[uri(place, "in/deep/er/heavy.bmp")]["message"]
    require_counts(report(place)["counts"], len(good), len(expected))
    assert "7 failures" in capsys.readouterr().out

    assert (
        app.main([*command, "--max-attempts", "1"]) == codes.DONE
    )  # else the image that may come later is tried again
    assert "nothing to do" in capsys.readouterr().out
    counts = report(place)["counts"]
    assert (counts["already_done"], counts["failed_before"]) == (len(good), len(expected))
    assert tables.by_uri(read(place, "predictions", tmp_path)) == predictions
    assert tables.by_uri(read(place, "failures", tmp_path)) == failures


@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_what_is_new_changed_or_another_recipe_is_done_and_nothing_else(
    place: Place, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    first = put(place, "in/a.jpg", GOOD["good-0.jpg"])
    put(place, "in/b.jpg", GOOD["good-1.jpg"])
    command = ["run", "--images", uri(place, "in/"), "--output", uri(place, "out"), "--classifier", tiny_classifier]
    assert app.main([*command, "--embedder", "none"]) == codes.DONE
    assert read(place, "embeddings", tmp_path) == []

    put(place, "in/a.jpg", GOOD["good-2.jpg"])
    new = put(place, "in/c.jpg", GOOD["good-3.jpg"])
    assert app.main([*command, "--embedder", tiny_embedder]) == codes.DONE
    (table,) = (name for name in report(place)["counts"]["ok"] if name.startswith("predictions/"))
    assert report(place)["counts"]["ok"][table] == 2
    assert [row["uri"] for row in read(place, "predictions", tmp_path)].count(first) == 2
    assert len({row["version"] for row in read(place, "predictions", tmp_path) if row["uri"] == first}) == 2
    assert set(tables.by_uri(read(place, "embeddings", tmp_path))) == {first, uri(place, "in/b.jpg"), new}

    # Other columns are another recipe: the files of one folder have the same columns.
    assert app.main([*command, "--embedder", "none", "--probabilities"]) == codes.DONE
    with_all = [row for row in read(place, "predictions", tmp_path) if row.get("probabilities")]
    assert len(with_all) == 3
    assert all(max(row["probabilities"]) == row["score"] for row in with_all)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_failed_images_are_tried_again_as_asked(place: Place, tmp_path: Path, tiny_classifier: str) -> None:
    put(place, "in/a.jpg", GOOD["good-0.jpg"])
    late = uri(place, "in/late.jpg")
    manifest = put(place, "list.csv", f"id,uri\n1,in/a.jpg\n2,{late}\n3\n".encode())
    command = [
        *("run", "--images", manifest, "--output", uri(place, "out"), "--classifier", tiny_classifier),
        *("--embedder", "none", "--max-failures", "1"),
    ]
    assert app.main(command) == codes.TOO_MANY_FAILURES  # the missing one, and the line without a URI
    put(place, "in/late.jpg", GOOD["good-1.jpg"])
    assert app.main(command) == codes.DONE
    assert report(place)["counts"]["failed_before"] == 1  # the line; the image is there now
    assert app.main([*command, "--retry-failed"]) == codes.DONE
    assert set(tables.by_uri(read(place, "predictions", tmp_path))) == {uri(place, "in/a.jpg"), late}
    assert report(place)["counts"]["failed"] == {"list": 1}

    # Unchanged by name, changed by content: only --check-versions sees it.
    put(place, "in/a.jpg", GOOD["good-2.jpg"])
    assert app.main(command) == codes.DONE
    assert report(place)["counts"]["images"] == 0
    assert app.main([*command, "--check-versions"]) == codes.DONE
    assert report(place)["counts"]["images"] == 1
    assert [row["uri"] for row in read(place, "predictions", tmp_path)].count(uri(place, "in/a.jpg")) == 2


def test_a_bucket_that_is_down_for_a_while_loses_nothing(
    gcs: GcsServer, bucket: Bucket, quick_retries: object, tmp_path: Path, tiny_classifier: str
) -> None:
    for name, data in GOOD.items():
        bucket.put(f"in/{name}", data)
    command = [
        *("run", "--images", bucket.uri("in/*.jpg"), "--output", bucket.uri("out"), "--embedder", "none"),
        *("--classifier", tiny_classifier, "--max-failures", "100%"),
    ]
    down = bucket.uri("in/good-3.jpg")
    gcs.faults = lambda method, path: 503 if "good-3.jpg" in path and "alt=media" in path else None
    assert app.main(command) == codes.DONE
    failure = tables.by_uri(read(bucket, "failures", tmp_path))[down]
    assert (failure["stage"], failure["error"], failure["retryable"]) == ("fetch", "Unreadable", True)
    assert failure["version"] is not None

    seen: set[str] = set()

    def every_second_request(method: str, path: str) -> int | None:
        first = f"{method} {path}" not in seen
        seen.add(f"{method} {path}")
        return 503 if first else None

    gcs.faults = every_second_request
    assert app.main(command) == codes.DONE
    gcs.faults = None
    assert set(tables.by_uri(read(bucket, "predictions", tmp_path))) == {bucket.uri(f"in/{name}") for name in GOOD}


def test_an_output_inside_the_images_is_never_listed(place: Place, tiny_classifier: str, tiny_embedder: str) -> None:
    for name, data in GOOD.items():
        put(place, f"photos/{name}", data)
    whole = uri(place, "**") if isinstance(place, Path) else place.uri("**")
    models = ["--classifier", tiny_classifier, "--embedder", tiny_embedder]
    run = ["run", "--images", whole, "--output", uri(place, "out"), *models]
    for already_done in (0, len(GOOD)):
        assert app.main(run) == codes.DONE
        counted = report(place)["counts"]
        assert (counted["listed"], counted["already_done"], counted["ignored"]) == (len(GOOD), already_done, 0)
        assert counted["failed"] == {}
        assert app.main(["report", uri(place, "out")]) == codes.DONE
