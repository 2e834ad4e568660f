"""Checks before a job is sent: models in the bucket, and writable folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcs_server import Bucket, GcsServer

from runners.dataflow import checks
from transforms.errors import ModelError, UsageError
from transforms.inference import bundle


def test_copies_a_local_bundle_once(bucket: Bucket, tiny_classifier: str) -> None:
    uri = checks.stage_model(tiny_classifier, "classify", bucket.uri("models"))
    made = bundle.read(tiny_classifier)
    assert uri == bucket.uri(f"models/tiny-{made.files_hash[:16]}")
    assert bundle.read(uri) == made
    bundle.verify(bundle.localize(uri, made.content_hash), made, uri)

    bucket.gcs.requests.clear()
    assert checks.stage_model(tiny_classifier, "classify", bucket.uri("models")) == uri
    assert not [path for method, path in bucket.gcs.requests if method != "GET"]


def test_completes_an_incomplete_copy(bucket: Bucket, tiny_classifier: str) -> None:
    uri = checks.stage_model(tiny_classifier, "classify", bucket.uri("models"))
    lost = f"{uri.removeprefix(bucket.uri(''))}/labels.txt"
    bucket.delete(lost)
    with pytest.raises(ModelError, match=r"has no labels\.txt; stage the model again"):
        checks.stage_model(uri, "classify", "")
    assert checks.stage_model(tiny_classifier, "classify", bucket.uri("models")) == uri
    assert lost in bucket.names()
    assert checks.stage_model(uri, "classify", "") == uri


def test_does_not_copy_a_damaged_bundle(bucket: Bucket, tiny_classifier: str, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_classifier, copy)
    (copy / "labels.txt").write_text("others")
    with pytest.raises(ModelError, match="stage the model again"):
        checks.stage_model(str(copy), "classify", bucket.uri("models"))
    assert bucket.names() == []


def test_write_check_leaves_no_file(gcs: GcsServer, bucket: Bucket, quick_retries: object) -> None:
    checks.require_writable("--output", bucket.uri("out"))
    assert bucket.names() == []
    assert any(method == "DELETE" for method, _ in gcs.requests)
    gcs.faults = lambda method, path: 403 if method == "POST" else None
    with pytest.raises(UsageError, match=r"--output gs://.*/out is not writable: .*Storage Object Admin"):
        checks.require_writable("--output", bucket.uri("out"))
