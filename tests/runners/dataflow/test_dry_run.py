"""``submit --dry-run`` with a cloud and without one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from gcs_server import Bucket, GcsServer

from runners.cli import app, codes
from runners.dataflow import dry_run
from transforms.inference import bundle

PLACE = ["--project", "test-project", "--region", "europe-west4", "--container-image", "repository/beamsight"]


def test_with_a_cloud(
    bucket: Bucket, tiny_classifier: str, tiny_embedder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        bucket.put(f"in/{number}.jpg", b"")
    bucket.put("in/out/runs/1.json", b"")  # a file of the output is no image
    in_bucket = bucket.uri("models/tiny")
    made = bundle.read(tiny_classifier)
    bundle.write(made, Path(tiny_classifier), in_bucket)
    before = bucket.names()
    command = [
        *("submit", "--dry-run", "--images", bucket.uri("in/**"), "--output", bucket.uri("in/out"), *PLACE),
        *("--classifier", in_bucket, "--embedder", tiny_embedder, "--label", "team=birds", "--no-public-ips"),
        *("--images-per-second", "10", "--machine-price", "0.5"),
    ]
    bucket.gcs.requests.clear()
    bucket.gcs.faults = lambda method, _: None if method == "GET" else 403  # refuses every write
    assert app.main(command) == codes.DONE
    said = capsys.readouterr().out
    assert [request for request in bucket.gcs.requests if request[0] != "GET"] == []
    for line in (
        "project, region  test-project, europe-west4",
        "machines         1 to 10, chosen by Dataflow",
        "machine          c3-standard-8, 8 vCPUs, 32 GB, 50 GB disk",
        "process          one per machine, models use all cores, 2 threads for units",
        "container image  repository/beamsight:0.1.0-cpu",
        "network          no public IPs",
        "labels           beamsight=0-1-0, team=birds",
        f"classify         tiny, content hash {made.content_hash[:16]}…, at {in_bucket}\n",
        f", at {tiny_embedder}, will be copied to gs://{bucket.name}/beamsight/models",
        "images to do     3, if none of them is in the tables yet",
        "units            3 of up to 512 images",
        "images/s         10 per machine, from --images-per-second",
        "Beam's checks    passed",
        "\nThe job was not sent.\n",
    ):
        assert line in said
    assert "unknown:" not in said
    assert bucket.names() == before


def test_without_a_cloud(
    gcs: GcsServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dry_run, "LOOK_UP_SECONDS", 0.5)
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path))
    gcs.faults = lambda method, path: 503
    command = ["submit", "--dry-run", "--images", "gs://bucket/in/*.jpg", "--output", "gs://bucket/out", *PLACE]
    since = time.monotonic()
    assert app.main([*command, "--embedder", "gs://bucket/model", "--gpu", "nvidia-l4"]) == codes.DONE
    assert time.monotonic() - since < 30
    said = capsys.readouterr().out
    assert "machine          g2-standard-8, 8 vCPUs, 32 GB, 100 GB disk, nvidia-l4\n" in said
    assert "engine           tensorflow, f32, batches of 32\n" in said
    assert "images to do     1,000,000 assumed (set it with --count)" in said
    assert "images/s         unknown, pass --images-per-second" in said
    not_known = said[said.index("unknown:") :]
    assert "efficientnet-b7: not staged on this machine yet; `submit` stages it" in not_known
    assert "gs://bucket/model: no answer in time" in not_known
    assert "number of images" in not_known
    assert "Beam's checks    skipped, because a model is unknown" in said


def test_images_in_shards_are_not_counted(
    bucket: Bucket, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg", "c.tar"):
        bucket.put(f"in/{name}", b"")
    models = ("--classifier", tiny_classifier, "--embedder", "none")
    command = ["submit", "--dry-run", "--images", bucket.uri("in"), "--output", bucket.uri("out"), *PLACE, *models]
    assert app.main(command) == codes.DONE
    said = capsys.readouterr().out
    assert "images to do     1,000,000 assumed" in said
    assert "number of images: images in shards are counted when the shards are opened; pass --count" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "out"], "--output out is on this machine"),
        (["--images", "photos"], "--images photos is on this machine"),
        (["--project", ""], "no project"),
        (["--region", ""], "no region"),
        (["--region", "europe-west44"], "europe-west44 is not a region of Dataflow; did you mean 'europe-west4'?"),
        (["--output", "gs://My-Bucket/out"], "'My-Bucket' cannot be the name of a bucket"),
        (["--output", "gs://b/out"], "'b' cannot be the name of a bucket"),
        (["--bucket", "gs://Other"], "'Other' cannot be the name of a bucket"),
        (["--temp_location=gs://bucket", "--staging_location=gs://bucket"], "gs://bucket names a bucket but no object"),
        (["--container-image", ""], "no container image"),
        (["--output", "s3://bucket/out"], "--bucket"),
        (["--temp_location=/tmp/here"], "--temp_location /tmp/here is not in a bucket"),
        (["--bucket", "here"], "--bucket here"),
        (["--max_workers=3"], "--max_workers"),
    ],
)
def test_reports_local_errors_in_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "submit",
        "--dry-run",
        "--images",
        "gs://bucket/in/*.jpg",
        "--output",
        "gs://bucket/out",
        *PLACE,
        *options,
    ]
    assert app.main(command) == codes.WRONG_USE
    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_reports_all_missing_options_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["submit", "--dry-run", "--images", "gs://bucket/in/*.jpg", "--output", "gs://bucket/out"]
    options = ["--region", "europe-west44", "--temp_location=/tmp/a", "--staging_location=/tmp/b"]
    assert app.main([*command, *options]) == codes.WRONG_USE
    lines = capsys.readouterr().err.splitlines()
    for line, words in zip(
        lines,
        [
            "no project",
            "--region europe-west44",
            "--temp_location /tmp/a is not in a bucket",
            "--staging_location /tmp/b is not in a bucket",
            "no container image",
        ],
        strict=True,
    ):
        assert words in line


def test_refuses_an_image_with_another_python(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.dataflow.options.IMAGES_PYTHON", (3, 99))
    command = ["submit", "--dry-run", "--images", "gs://bucket/in/*.jpg", "--output", "gs://bucket/out", *PLACE]
    assert app.main(command) == codes.WRONG_USE
    said = capsys.readouterr().err
    assert "repository/beamsight:0.1.0-cpu has Python 3.99" in said
    assert said.count("\n") == 1


def test_a_tensorflow_model_needs_an_image_with_tensorflow(
    bucket: Bucket, tiny_classifier: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_classifier, copy)
    bucket.put("in/a.jpg", b"")
    command = [
        *("submit", "--dry-run", "--images", bucket.uri("in/"), "--output", bucket.uri("out"), *PLACE),
        *("--classifier", str(copy), "--embedder", "none", "--engine", "tensorflow"),
    ]
    assert app.main(command) == codes.WRONG_USE
    assert "tiny needs TensorFlow, which repository/beamsight:0.1.0-cpu does not contain" in capsys.readouterr().err
    assert app.main([*command, "--gpu", "nvidia-tesla-t4"]) == codes.DONE
