"""Right answers, from a model with trained weights on photos whose class is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tables
from PIL import Image

from runners.cli import app, codes
from transforms.imaging import drawn, resizing
from transforms.inference.libraries import tensorflow

KNOWN = {  # class and score of the classification form, as published beside the photos
    "burger.jpg": (933, 0.9971),
    "parrot.jpg": (88, 0.9948),
    "cat_720p.jpg": (285, 0.6969),
}


@pytest.fixture
def photos(shared_dir: Path) -> Path:
    return shared_dir / "photos"


@pytest.mark.parametrize("form", ["classification", "classification_logits"])
def test_known_photos_come_out_as_what_they_are(
    photos: Path, trained: Mapping[str, str], form: str, tmp_path: Path
) -> None:
    command = ["run", "--images", str(photos), "--output", str(tmp_path / "out"), "--embedder", "none"]
    assert app.main([*command, "--classifier", trained[form]]) == codes.DONE
    rows = {Path(row["uri"]).name: row for row in tables.rows(tmp_path / "out", "predictions", tmp_path)}
    assert rows.keys() == KNOWN.keys()
    for name, (class_id, score) in KNOWN.items():
        assert rows[name]["class_id"] == class_id
        assert rows[name]["score"] == pytest.approx(score, abs=0.02)
    assert rows["parrot.jpg"]["label"] == "macaw"
    assert rows["parrot.jpg"]["wnid"] == "n01818515"


def test_vectors_equal_those_of_a_plain_tensorflow_script(
    photos: Path, shared_dir: Path, trained: Mapping[str, str], tmp_path: Path
) -> None:
    command = ["run", "--images", str(photos), "--output", str(tmp_path / "out"), "--classifier", "none"]
    assert app.main([*command, "--embedder", trained["feature_vector"], "--resizer", "pillow"]) == codes.DONE

    tf = tensorflow()
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})  # as in a new process
    model = tf.saved_model.load(str(shared_dir / "models" / "mobilenet_v1_025_224" / "feature_vector"))
    rows = tables.rows(tmp_path / "out", "embeddings", tmp_path)
    assert len(rows) == len(KNOWN)
    for row in rows:
        picture = Image.open(row["uri"]).convert("RGB")
        side = min(picture.size) * 224 / 256
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        picture = picture.crop((int(left), int(top), int(left + side + 0.99), int(top + side + 0.99)))
        box = (left % 1, top % 1, left % 1 + side, top % 1 + side)
        square = picture.resize((224, 224), Image.Resampling.BICUBIC, box)
        values = tf.constant(np.asarray(square)[None], tf.float32) / 255
        expected = model.signatures["serving_default"](image_input=values)["top_pool"].numpy()[0]
        np.testing.assert_allclose(row["embedding"], expected, atol=1e-5)


@pytest.mark.skipif(resizing.best() != "simd", reason="cykooz-resizer has no wheel for this machine")
def test_each_resizer_has_a_table_of_its_own(photos: Path, trained: Mapping[str, str], tmp_path: Path) -> None:
    command = ["run", "--images", str(photos), "--output", str(tmp_path / "out"), "--classifier", "none"]
    for option in ((), ("--resizer", "simd"), ("--resizer", "pillow")):
        assert app.main([*command, "--embedder", trained["feature_vector"], *option]) == codes.DONE
    rows = tables.rows(tmp_path / "out", "embeddings", tmp_path)
    first, second = (
        {row["uri"]: np.array(row["embedding"]) for row in rows if row["recipe"] == recipe}
        for recipe in {row["recipe"] for row in rows}
    )
    assert len(first) == len(second) == len(KNOWN)
    for uri, vector in first.items():
        other = second[uri]
        assert not np.array_equal(vector, other)
        assert vector @ other / (np.linalg.norm(vector) * np.linalg.norm(other)) > 0.9999


def test_answers_do_not_depend_on_how_the_work_is_cut(
    shared_dir: Path, trained: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "in"
    images.mkdir()
    for number in range(21):
        (images / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, 300 + 7 * number, 260)))
    names = sorted(images.iterdir())
    (tmp_path / "forwards.txt").write_text("\n".join(map(str, names)))
    (tmp_path / "backwards.txt").write_text("\n".join(map(str, reversed(names))))
    models = ["--classifier", trained["classification"], "--embedder", trained["feature_vector"], "--probabilities"]
    read = []
    for way, options in {
        "forwards": ["--batch-size", "8"],
        "backwards": ["--batch-size", "3", "--unit-size", "5", "--threads", "1"],
    }.items():
        out = tmp_path / way
        command = ["run", "--images", f"{out}.txt", "--output", str(out / "out"), *models, *options]
        assert app.main(command) == codes.DONE
        read.append([tables.rows(out / "out", table, tmp_path) for table in ("predictions", "embeddings")])
    (predictions, embeddings), (predictions_too, embeddings_too) = read
    assert [row["uri"] for row in predictions] == [row["uri"] for row in predictions_too] == sorted(map(str, names))
    for row, other in zip(predictions, predictions_too, strict=True):
        assert row["class_id"] == other["class_id"]
        np.testing.assert_allclose(row["probabilities"], other["probabilities"], atol=1e-5)
    for row, other in zip(embeddings, embeddings_too, strict=True):
        np.testing.assert_allclose(row["embedding"], other["embedding"], atol=1e-5)


def test_normalized_vectors_have_length_1(photos: Path, trained: Mapping[str, str], tmp_path: Path) -> None:
    command = ["run", "--images", str(photos), "--output", str(tmp_path / "out"), "--classifier", "none"]
    for options in ([], ["--normalize"]):
        assert app.main([*command, "--embedder", trained["feature_vector"], *options]) == codes.DONE
    plain: tables.Rows = []
    unit: tables.Rows = []
    for path, data in tables.files_of(tmp_path / "out", "embeddings").items():
        assert data
        rows = pq.read_table(path, partitioning=None).to_pylist()
        (unit if abs(np.linalg.norm(rows[0]["embedding"]) - 1) < 1e-6 else plain).extend(rows)
    assert len(plain) == len(KNOWN)
    for row, other in zip(plain, unit, strict=True):
        expected = np.asarray(row["embedding"]) / np.linalg.norm(row["embedding"])
        np.testing.assert_allclose(other["embedding"], expected, atol=1e-6)
