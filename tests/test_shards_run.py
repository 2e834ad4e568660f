"""Images inside shards, through the command."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import picture_shards
import pytest
import tables
from gcs_server import Bucket, GcsServer

from runners.cli import app, codes
from transforms import member_uris
from transforms.imaging import drawn

PICTURES = {f"{number:04}.jpg": drawn.encode(drawn.draw(number, 60, 40)) for number in range(30)}


def run(folder: Path, images: str, tiny_classifier: str, tiny_embedder: str, *more: str) -> dict[str, Any]:
    """Run the job, and return its report."""
    models = ("--classifier", tiny_classifier, "--embedder", tiny_embedder)
    code = app.main(["run", "--images", images, "--output", str(folder), *models, "--max-failures", "100%", *more])
    assert code == codes.DONE
    reports = [json.loads(path.read_bytes()) for path in (folder / "runs").iterdir()]
    return dict(max(reports, key=lambda report: report["started_at"])["counts"])


def test_pictures_in_shards_have_the_rows_of_loose_ones(
    tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    shards = {f"{tmp_path}/in/shard{suffix}": maker for suffix, maker in picture_shards.MAKERS.items()}
    (tmp_path / "in").mkdir()
    (tmp_path / "loose").mkdir()
    for shard, maker in shards.items():
        Path(shard).write_bytes(maker(PICTURES))
    for name, data in PICTURES.items():
        (tmp_path / "loose" / name).write_bytes(data)

    counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder, "--unit-size", "8")
    run(tmp_path / "loose-out", f"{tmp_path}/loose", tiny_classifier, tiny_embedder)

    assert counts["listed"] == counts["missing"] == counts["images"] == 30 * len(shards)
    for table in ("predictions", "embeddings"):
        alone = {row["sha256"]: row for row in tables.rows(tmp_path / "loose-out", table, tmp_path)}
        assert set(alone) == {hashlib.sha256(data).hexdigest() for data in PICTURES.values()}
        found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for row in tables.rows(tmp_path / "out", table, tmp_path):
            found[member_uris.file_of(row["uri"])][row["sha256"]] = row
        assert set(found) == set(shards)
        for rows in found.values():
            assert set(rows) == set(alone)
            for sha256, row in rows.items():
                if table == "embeddings":
                    np.testing.assert_allclose(row["embedding"], alone[sha256]["embedding"], atol=1e-5)
                elif "::" in row["uri"]:
                    with fsspec.open(row["uri"]) as member:
                        assert hashlib.sha256(member.read()).hexdigest() == sha256

    again = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder)
    assert (again["already_done"], again["images"], again["shards_already_done"]) == (180, 0, 6)
    assert app.main(["tables", str(tmp_path / "out"), "--check"]) == codes.DONE


def test_a_second_run_opens_no_shard_and_a_changed_one_is_done_alone(
    bucket: Bucket, gcs: GcsServer, tmp_path: Path, tiny_classifier: str
) -> None:
    for number in range(10):
        pictures = {f"{name}": PICTURES[name] for name in sorted(PICTURES)[number::10]}
        bucket.put(f"in/{number}.tar", picture_shards.make_tar(pictures))
    command = [bucket.uri("in/*.tar"), tiny_classifier]

    assert run_on(bucket, tmp_path, *command)["images"] == 30
    gcs.reset()
    counts = run_on(bucket, tmp_path, *command)
    assert [path for path in gcs.media() if ".tar" in path] == []
    assert (counts["listed"], counts["already_done"], counts["images"], counts["ignored"]) == (30, 30, 0, 0)
    assert (counts["shards"], counts["shards_already_done"]) == (10, 10)

    bucket.put("in/3.tar", picture_shards.make_tar({"new.jpg": PICTURES["0003.jpg"], "0003.jpg": PICTURES["0003.jpg"]}))
    gcs.reset()
    counts = run_on(bucket, tmp_path, *command)
    assert {path.partition("?")[0][-5:] for path in gcs.media() if ".tar" in path} == {"3.tar"}
    assert (counts["images"], counts["shards_already_done"], counts["ignored"]) == (2, 9, 2)


def run_on(bucket: Bucket, tmp_path: Path, images: str, classifier: str, *more: str) -> dict[str, Any]:
    arguments = ["run", "--images", images, "--output", bucket.uri("out"), "--classifier", classifier]
    assert app.main([*arguments, "--embedder", "none", "--max-failures", "100%", *more]) == codes.DONE
    reports = [json.loads(bucket.get(name)) for name in bucket.names() if name.startswith("out/runs/")]
    return dict(max(reports, key=lambda report: report["started_at"])["counts"])


def test_faults_of_a_shard_are_rows_and_the_rest_goes_on(
    tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pictures = {name: PICTURES[name] for name in sorted(PICTURES)[:6]}
    whole = picture_shards.make_tar(pictures | {"broken.jpg": b"no picture", "../up.jpg": PICTURES["0000.jpg"]})
    (folder / "whole.tar").write_bytes(whole)
    (folder / "cut.tar").write_bytes(picture_shards.make_tar(pictures)[:5000])
    (folder / "text.zip").write_bytes(b"this is no zip")
    (folder / "texts.tar").write_bytes(picture_shards.make_tar({}))
    (folder / "loose.jpg").write_bytes(PICTURES["0007.jpg"])

    counts = run(tmp_path / "out", str(folder), tiny_classifier, tiny_embedder)

    in_cut = sum(row["uri"].endswith("cut.tar") for row in tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert 0 < in_cut < 6
    failures = tables.by_uri(tables.rows(tmp_path / "out", "failures", tmp_path))
    assert {uri.replace(str(folder), ""): row["error"] for uri, row in failures.items()} == {
        "tar://broken.jpg::/whole.tar": "NotAnImage",
        "tar://../up.jpg::/whole.tar": "ListError",
        "/cut.tar": "BrokenShard",
        "/text.zip": "BrokenShard",
        "/texts.tar": "ListError",
    }
    assert "at byte" in failures[f"{folder}/cut.tar"]["message"]
    assert counts["images"] == counts["listed"] == 8 + in_cut + 1 + 3  # three faults are those of shards
    assert sum(counts["failed"].values()) == 5

    again = run(tmp_path / "out", str(folder), tiny_classifier, tiny_embedder)
    assert (again["images"], again["failed_before"], again["listed"]) == (0, 5, counts["listed"])
    assert (again["shards"], again["shards_already_done"]) == (4, 4)
    retried = run(tmp_path / "out", str(folder), tiny_classifier, tiny_embedder, "--retry-failed")
    assert (retried["images"], retried["already_done"]) == (5, 7 + in_cut)
    assert app.main(["tables", str(tmp_path / "out"), "--check"]) == codes.DONE


def test_a_manifest_names_shards_and_images_in_them(tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> None:
    (tmp_path / "a.tar").write_bytes(picture_shards.make_tar(PICTURES))
    (tmp_path / "b.parquet").write_bytes(picture_shards.make_parquet(PICTURES))
    (tmp_path / "c.zip").write_bytes(picture_shards.make_zip({"0001.jpg": PICTURES["0001.jpg"]}))
    names = ["tar://0004.jpg::a.tar", "tar://0002.jpg::a.tar", "tar://none.jpg::a.tar", "b.parquet#row=7", "c.zip"]
    manifest = tmp_path / "list.txt"
    manifest.write_text("\n".join([*names, "https://127.0.0.1/d.tar"]), encoding="utf-8")

    counts = run(tmp_path / "out", str(manifest), tiny_classifier, tiny_embedder)

    rows = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert {uri.replace(f"{tmp_path}/", ""): row["sha256"] for uri, row in rows.items()} == {
        name: hashlib.sha256(PICTURES[picture]).hexdigest()
        for name, picture in (
            ("tar://0002.jpg::a.tar", "0002.jpg"),
            ("tar://0004.jpg::a.tar", "0004.jpg"),
            ("b.parquet#row=7", "0007.jpg"),
            ("zip://0001.jpg::c.zip", "0001.jpg"),
        )
    }
    failures = tables.by_uri(tables.rows(tmp_path / "out", "failures", tmp_path))
    assert {uri: row["error"] for uri, row in failures.items()} == {
        f"tar://none.jpg::{tmp_path}/a.tar": "NotFound",
        "https://127.0.0.1/d.tar": "ListError",
    }
    assert counts["images"] == counts["listed"] == 6
    again = run(tmp_path / "out", str(manifest), tiny_classifier, tiny_embedder)
    assert (again["images"], again["already_done"]) == (0, 4)
    everything = run(tmp_path / "out", f"{tmp_path}/*.tar", tiny_classifier, tiny_embedder)
    assert (everything["images"], everything["already_done"]) == (28, 2)


def test_limit_opens_shards_until_there_are_enough_images(
    tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        pictures = {name: PICTURES[name] for name in sorted(PICTURES)[10 * number : 10 * number + 10]}
        (tmp_path / f"in/{number}.zip").write_bytes(picture_shards.make_zip(pictures))
    for missing in (30, 18, 6):
        counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder, "--limit", "12")
        assert counts["images"] == counts["missing"] == min(12, missing)
    counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder)
    assert (counts["images"], counts["already_done"], counts["shards_already_done"]) == (0, 30, 0)
    counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder)
    assert (counts["listed"], counts["shards_already_done"]) == (30, 3)


def test_a_dry_run_counts_the_shards_to_open(
    tmp_path: Path, tiny_classifier: str, tiny_embedder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(PICTURES["0001.jpg"])
    (tmp_path / "in/a.tar").write_bytes(picture_shards.make_tar(PICTURES))
    run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder)
    (tmp_path / "in/b.tfrecord").write_bytes(picture_shards.make_tfrecord(PICTURES))
    (tmp_path / "in/b.jpg").write_bytes(PICTURES["0002.jpg"])
    capsys.readouterr()
    models = ("--classifier", tiny_classifier, "--embedder", tiny_embedder)
    command = ["run", "--images", f"{tmp_path}/in", "--output", f"{tmp_path}/out", *models, "--dry-run"]
    assert app.main(command) == codes.DONE
    lines = capsys.readouterr().out.splitlines()
    found = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines if "  " in line}
    assert (found["listed"], found["done before"], found["to process"]) == ("32 images", "31 images", "1 image")
    assert found["to open"].startswith("1 shard, ")


def test_small_shards_share_a_unit(tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> None:
    (tmp_path / "in").mkdir()
    for name, data in PICTURES.items():
        (tmp_path / f"in/{name}.tar").write_bytes(picture_shards.make_tar({name: data}))
    counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder, "--unit-size", "12")
    assert (counts["images"], counts["shards"], counts["units"]) == (30, 30, 3)
    shards = tables.rows(tmp_path / "out", "shards", tmp_path)
    assert [(row["images"], row["failed"], row["others"], row["retryable"]) for row in shards] == [
        (1, 0, 1, False)
    ] * 60

    recipe = shards[0]["recipe"]
    assert app.main(["tables", str(tmp_path / "out"), "--drop-recipe", recipe]) == codes.DONE
    counts = run(tmp_path / "out", f"{tmp_path}/in", tiny_classifier, tiny_embedder)
    assert (counts["images"], sorted(counts["ok"].values())) == (30, [0, 30])
