"""Predictions without a pipeline: any kind of image, the same answers as a run."""

from __future__ import annotations

import doctest
import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import tables
from gcs_server import Bucket
from PIL import Image

import beamsight
from beamsight import inputs, predictor
from beamsight.inputs import ImageLike
from runners.cli import app, codes
from transforms.errors import (
    Corrupt,
    DecodeError,
    EngineError,
    ImageError,
    ModelError,
    NonFinite,
    NotFound,
    Refused,
    Unreadable,
    UsageError,
)
from transforms.imaging import drawn, fit, resizing
from transforms.imaging.drawn import Pixels
from transforms.inference.engine import Floats
from transforms.inference.spec import EngineName

KNOWN = {"burger.jpg": (933, "cheeseburger"), "cat_720p.jpg": (285, "Egyptian cat"), "parrot.jpg": (88, "macaw")}


@pytest.fixture
def picture() -> Pixels:
    return drawn.draw(3, 60, 40)


@pytest.fixture
def file(picture: Pixels, tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    path.write_bytes(drawn.encode(picture, "png"))
    return path


def test_the_examples_run(tiny_classifier: str, tiny_embedder: str) -> None:
    bundles = {"classifier": tiny_classifier, "embedder": tiny_embedder}
    for module in (predictor, inputs):
        assert doctest.testmod(module, extraglobs=bundles, raise_on_error=True).attempted


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
    kinds: list[ImageLike] = [str(file), file, f"file://{file}", file.read_bytes(), Image.open(file), picture]
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


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_a_pillow_image_is_turned_upright_as_its_file_is(kind: str, picture: Pixels, tiny_embedder: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = drawn.encode(picture, kind, exif=exif)
    opened, again = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data))
    model = beamsight.load(tiny_embedder)
    np.testing.assert_array_equal(
        inputs.fit_image(data, model.spec), inputs.fit_image(again, model.spec), err_msg="the pixels differ"
    )
    vectors = model.predict([data, opened, opened, beamsight.decode(data)])
    np.testing.assert_array_equal(vectors, np.repeat(vectors[:1], 4, axis=0))
    assert opened.getexif().get(0x0112, 6) == 6, "the caller's image was changed"


@pytest.mark.parametrize("name", [*pictures.LOSSLESS, *pictures.LOSSY])
def test_each_format_gives_one_answer_as_a_file_and_as_an_image(name: str, tiny_embedder: str) -> None:
    data = pictures.sample(name)
    model = beamsight.load(tiny_embedder)
    as_file, as_image = model.predict([data, Image.open(io.BytesIO(data))])
    np.testing.assert_array_equal(as_file, as_image)


def test_errors_name_the_index_of_the_image(file: Path, tmp_path: Path, tiny_embedder: str) -> None:
    model = beamsight.load(tiny_embedder)
    good = drawn.draw(1, 20, 20)
    many: list[ImageLike] = [good] * (predictor._CHUNK + 5)
    with pytest.raises(NotFound, match=rf"^image {len(many)}: .*nowhere.jpg"):
        model.predict([*many, tmp_path / "nowhere.jpg", b"", good])
    with pytest.raises(DecodeError, match=r"^image 1: "):
        model.predict([good, file.read_bytes()[:60]])
    half = Image.open(io.BytesIO(drawn.encode(drawn.draw(1, 200, 200))[:3000]))
    with pytest.raises(Corrupt, match=r"^image 1: this JPEG cannot be decoded"):
        model.predict([good, half])
    with pytest.raises(UsageError, match=r"^image 0: an array of float64\[4, 4\] is not uint8\[height, width, 3\]"):
        model.predict([np.zeros((4, 4))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"^image 0: an array of uint8\[0, 4, 3\] is not"):
        model.predict([np.zeros((0, 4, 3), np.uint8)])
    with pytest.raises(UsageError, match=r"^image 0: a Pillow image of 0 x 4 pixels has no pixels"):
        model.predict([Image.new("RGB", (0, 4))])
    with pytest.raises(UsageError, match=r"^image 2: int is not an image"):
        model.predict([good, good, 7])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"^image 0: ftp://example.org/a.jpg: ftp:// is not supported"):
        model.predict(["ftp://example.org/a.jpg"])


class FakeEngine:
    """The mean of the first channel, except for some images: ``refuse`` raises, ``invalid`` gives NaN."""

    batch = parallel = 1

    def __init__(self, refuse: int | None = None, invalid: int | None = None) -> None:
        self.refuse, self.invalid = refuse, invalid

    def infer(self, pixels: Pixels) -> Floats:
        means = pixels[..., 0].mean(axis=(1, 2)).astype(np.float32)
        if self.refuse in means:
            raise EngineError("broken")
        means[means == self.invalid] = np.nan
        return np.repeat(means[:, None], 8, axis=1)


def test_a_refused_image_is_named(tiny_embedder: str) -> None:
    model = beamsight.load(tiny_embedder)
    images = [np.full((16, 16, 3), value, np.uint8) for value in range(predictor._CHUNK + 10)]
    model._engine = FakeEngine(refuse=predictor._CHUNK + 2)
    with pytest.raises(Refused, match=rf"^image {predictor._CHUNK + 2}: tiny refuses this image: broken"):
        model.predict(images)
    model._engine = FakeEngine(invalid=3)
    with pytest.raises(NonFinite, match=r"^image 3: tiny gives NaN"):
        model.predict(images)
    with pytest.raises(NonFinite, match=r"^image 1: tiny gives NaN"):
        model.predict_pixels(np.stack(images[2:5]))
    model._engine = FakeEngine(refuse=128)
    with pytest.raises(EngineError, match="broken") as caught:
        model.predict([np.full((16, 16, 3), 128, np.uint8)])
    assert not isinstance(caught.value, ImageError), "no image is to blame if the engine is broken"


def test_one_image_is_not_a_list_of_images(file: Path, picture: Pixels, tiny_embedder: str) -> None:
    model = beamsight.load(tiny_embedder)
    one_image: list[Any] = [str(file), file, file.read_bytes(), Image.open(io.BytesIO(file.read_bytes())), picture]
    for image in one_image:
        with pytest.raises(UsageError, match=r"is one image; pass a list of images, such as \[image\]"):
            model.predict(image)
    expected = model.predict([picture] * 2)
    np.testing.assert_array_equal(model.predict(np.stack([picture, picture])), expected)
    np.testing.assert_array_equal(model.predict(np.array([str(file)] * 2)), expected)


def test_images_of_the_input_size_are_taken_as_they_are(tiny_embedder: str, picture: Pixels) -> None:
    model = beamsight.load(tiny_embedder)
    fitted = inputs.fit_image(picture, model.spec)
    np.testing.assert_array_equal(model.predict_pixels(fitted[None]), model.predict([picture]))
    assert model.predict_pixels(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 8)
    for wrong in (np.zeros((1, 15, 16, 3), np.uint8), np.zeros((1, 16, 16, 3), np.float32), fitted):
        with pytest.raises(UsageError, match=r"is not uint8\[N, 16, 16, 3\], which tiny takes"):
            model.predict_pixels(wrong)  # type: ignore[arg-type]


def test_the_resizer_can_be_chosen(tiny_embedder: str) -> None:
    photo = drawn.draw(1, 300, 200)
    fitted = Image.fromarray(photo[10:190, 60:240])
    models = [beamsight.load(tiny_embedder, resizer=resizer) for resizer in ("pillow", None)]
    assert [model.spec.resizer for model in models] == ["pillow", resizing.best()]
    pillow, best = (model.predict([fitted])[0] for model in models)
    np.testing.assert_allclose(pillow, best, rtol=0.01)
    spec = models[0].spec
    np.testing.assert_array_equal(models[0].predict_pixels(fit.fit_image(fitted, spec)[None])[0], pillow)


def test_the_best_classes(tiny_classifier: str, tiny_embedder: str, picture: Pixels) -> None:
    model = beamsight.load(tiny_classifier)
    (scores,) = model.predict([picture])
    (best,) = model.classify([picture], top_k=3)
    assert [item.class_id for item in best] == np.argsort(-scores)[:3].tolist()
    assert [item.score for item in best] == np.sort(scores)[::-1][:3].tolist()
    expected: tuple[Any, ...] = (scores.argmax(), None, model.labels[scores.argmax()].name, scores.max())
    assert tuple(best[0]) == expected
    assert model.classify([]) == []
    assert len(model.classify([picture], top_k=99)[0]) == 5
    with pytest.raises(UsageError, match="top_k 0 is too small"):
        model.classify([picture], top_k=0)
    with pytest.raises(UsageError, match="tiny is an embedder and has no classes"):
        beamsight.load(tiny_embedder).classify([picture])


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_known_photos_come_out_as_what_they_are(
    engine: EngineName, shared_dir: Path, trained: Mapping[str, str], tmp_path: Path
) -> None:
    photos = sorted((shared_dir / "photos").glob("*.jpg"))
    forms = trained["classification"], trained["feature_vector"]
    options = ["--classifier", forms[0], "--embedder", forms[1], "--probabilities", "--engine", engine]
    out = tmp_path / "out"
    assert app.main(["run", "--images", str(shared_dir / "photos"), "--output", str(out), *options]) == codes.DONE
    predictions, embeddings = (tables.rows(out, name, tmp_path) for name in ("predictions", "embeddings"))

    classifier, embedder = (beamsight.load(form, engine=engine) for form in forms)
    as_kinds: dict[str, list[ImageLike]] = {
        "paths": list(photos),
        "bytes": [path.read_bytes() for path in photos],
        "Pillow": [Image.open(path) for path in photos],
        "arrays": [beamsight.decode(path.read_bytes()) for path in photos],
    }
    for kind, images in as_kinds.items():
        for path, (best, *_), row in zip(photos, classifier.classify(images), predictions, strict=True):
            assert (int(best.class_id), best.label) == KNOWN[path.name], kind
            assert tuple(best) == (row["class_id"], row["wnid"], row["label"], row["score"]), kind
        assert classifier.predict(images).tolist() == [row["probabilities"] for row in predictions], kind
        assert embedder.predict(images).tolist() == [row["embedding"] for row in embeddings], kind
    assert {row["recipe"] for row in embeddings} == {embedder.recipe}


def failing_once(part: str) -> Callable[[str, str], int | None]:
    """503 for the first download of each object whose path has ``part``."""
    failed: set[str] = set()

    def fault(method: str, path: str) -> int | None:
        name = path.partition("?")[0]
        if part not in path or "alt=media" not in path or name in failed:
            return None
        failed.add(name)
        return 503

    return fault


def test_a_bundle_and_images_on_gs(
    bucket: Bucket, tiny_embedder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_retries: Any
) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path))
    for path in Path(tiny_embedder).rglob("*"):
        if path.is_file():
            bucket.put(f"model/{path.relative_to(tiny_embedder)}", path.read_bytes())
    images = [drawn.draw(seed, 40, 30) for seed in range(20)]
    for number, pixels in enumerate(images):
        bucket.put(f"in/{number}.png", drawn.encode(pixels, "png"))
    bucket.gcs.faults = failing_once("in%2F")
    bucket.gcs.delay = 0.05
    model = beamsight.load(bucket.uri("model"))
    vectors = model.predict(bucket.uri(f"in/{number}.png") for number in range(20))
    np.testing.assert_array_equal(vectors, beamsight.load(tiny_embedder).predict(images))
    assert bucket.gcs.peak > 4, "objects are read at the same time"

    with pytest.raises(NotFound, match=rf"^image 1: .*{bucket.name}/in/99.png"):
        model.predict([bucket.uri("in/0.png"), bucket.uri("in/99.png")])
    bucket.gcs.faults = lambda method, path: 503 if "in%2F3.png" in path else None
    with pytest.raises(Unreadable, match=r"^image 2: ") as caught:
        model.predict(map(bucket.uri, ["in/1.png", "in/2.png", "in/3.png"]))
    assert caught.value.retryable


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a bundle"):
        beamsight.load(tmp_path)


PREDICT = """
import pathlib, sys
import beamsight

model = beamsight.load(sys.argv[1])
model.predict([sys.argv[2]])
model.classify([beamsight.decode(pathlib.Path(sys.argv[2]).read_bytes())])
print([name for name in ("apache_beam", "tensorflow") if name in sys.modules])
"""


def test_predictions_import_neither_beam_nor_tensorflow(file: Path, tiny_classifier: str) -> None:
    done = subprocess.run([sys.executable, "-c", PREDICT, tiny_classifier, str(file)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
