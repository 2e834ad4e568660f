"""Predictions without a pipeline: any kind of image, the same answers as a run."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import tables
from PIL import Image

import beamsight
from beamsight import predictor
from runners.cli import app, codes
from transforms.errors import Corrupt, DecodeError, ModelError, NotFound, UsageError
from transforms.imaging import drawn
from transforms.imaging.drawn import Pixels


@pytest.fixture
def picture() -> Pixels:
    return drawn.draw(3, 60, 40)


@pytest.fixture
def file(picture: Pixels, tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    path.write_bytes(drawn.encode(picture, "png"))
    return path


def test_the_example_of_decode() -> None:
    assert doctest.testmod(predictor).failed == 0


def test_the_public_names_are_all_there() -> None:
    assert sorted(dir(beamsight)) == sorted(beamsight.__all__)
    assert all(getattr(beamsight, name) is not None for name in beamsight.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = beamsight.unknown


def test_decode_returns_the_pixels(file: Path, picture: Pixels) -> None:
    np.testing.assert_array_equal(beamsight.decode(file.read_bytes()), picture)
    with pytest.raises(DecodeError):
        beamsight.decode(b"this is no image")


@pytest.mark.parametrize("form", ["classifier", "embedder"])
def test_the_answers_are_those_of_a_run(
    form: str, file: Path, tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    output = str(tmp_path / "out")
    models = ["--classifier", tiny_classifier, "--embedder", tiny_embedder, "--probabilities"]
    assert app.main(["run", "--images", str(file), "--output", output, *models]) == codes.DONE
    table, column = ("predictions", "probabilities") if form == "classifier" else ("embeddings", "embedding")
    (row,) = tables.rows(tmp_path / "out", table, tmp_path)

    model = beamsight.load(tiny_classifier if form == "classifier" else tiny_embedder)
    (answer,) = model.predict([file])
    assert answer.tolist() == list(row[column])
    assert [label.name for label in model.labels][answer.argmax() :][:1] == ([row["label"]] if model.labels else [])


def test_every_kind_of_image_gives_the_same_answer(file: Path, picture: Pixels, tiny_embedder: str) -> None:
    model = beamsight.load(Path(tiny_embedder))
    kinds: list[predictor.ImageLike] = [str(file), file, f"file://{file}", file.read_bytes(), Image.open(file), picture]
    vectors = model.predict(kinds)
    assert vectors.shape == (len(kinds), 8)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.repeat(vectors[:1], len(kinds), axis=0))


def test_more_images_than_are_held_at_once_keep_their_order(tiny_embedder: str) -> None:
    model = beamsight.load(tiny_embedder)
    images = [drawn.draw(seed, 40, 30) for seed in range(predictor._CHUNK + 3)]
    together = model.predict(iter(images))
    np.testing.assert_allclose(together, np.concatenate([model.predict([image]) for image in images]), rtol=1e-6)


def test_no_images_give_no_rows(tiny_embedder: str) -> None:
    assert beamsight.load(tiny_embedder).predict([]).shape == (0, 8)


def test_what_is_not_an_image_is_refused(file: Path, tmp_path: Path, tiny_embedder: str) -> None:
    model = beamsight.load(tiny_embedder)
    with pytest.raises(NotFound):
        model.predict([tmp_path / "nowhere.jpg"])
    with pytest.raises((Corrupt, DecodeError)):
        model.predict([file.read_bytes()[:60]])
    with pytest.raises(UsageError, match=r"float64\[4, 4\] is not uint8\[height, width, 3\]"):
        model.predict([np.zeros((4, 4))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="int is not an image"):
        model.predict([7])  # type: ignore[list-item]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a bundle"):
        beamsight.load(tmp_path)
