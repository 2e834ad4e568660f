"""``beamsight models compare`` and ``quantize``, from the command line to the printed text and the changed bundle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tables
from changed_photos import changed
from gcs_server import Bucket

from beamsight.models import compare, sample_images
from beamsight.models.options import CompareOptions
from runners.cli import app, codes
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.inference import bundle
from transforms.inference.spec import ModelSpec

EMBEDDER = ModelSpec(name="tiny", task="embed", size=16, width=2, output="features")
CLASSIFIER = ModelSpec(name="tiny", task="classify", size=16, width=2, output="logits")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with 40 images and one broken file."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(40):
        (folder / f"{seed:02}.png").write_bytes(drawn.encode(drawn.draw(seed, 30, 20), "png"))
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


def run_models(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = codes.DONE) -> str:
    assert app.main(["models", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out == "") == (code != codes.DONE)
    assert (err == "") == (code == codes.DONE)
    return out or err


def cells(text: str) -> dict[str, list[str]]:
    """Return the cells of a table by row name. Columns are two spaces apart."""
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_figures_of_a_classifier() -> None:
    before = np.log(np.array([[0.75, 0.25], [0.25, 0.75]], np.float32))
    after = np.log(np.array([[0.5, 0.5], [0.75, 0.25]], np.float32)) + 3  # These are logits, before the softmax.
    assert compare.figures(before, after, CLASSIFIER) == [
        ("top-1 agreement", "100 %", "50.0 %"),
        ("score drift, mean", "0", "0.1250"),
        ("score drift, largest", "0", "0.2500"),
    ]


def test_figures_of_an_embedder() -> None:
    angles = np.radians(np.arange(12) * 5)
    before = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    after = before.copy()
    after[0] = [0.8 * before[0, 0], 0.6]
    assert compare.figures(before, after, EMBEDDER) == [
        ("cosine, least", "1", "0.80000"),
        ("cosine, mean", "1", "0.98333"),
        ("10 nearest kept", "100 %", "94.2 %"),
    ]
    assert compare.figures(before[:11], after[:11], EMBEDDER)[2] == ("10 nearest kept", "100 %", "too few images")


def test_compare_a_classifier(tiny_classifier: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run_models(["compare", tiny_classifier, "--images", str(images)], capsys)
    assert text.splitlines()[0] == "tiny, 40 images, 1 left out (1 NotAnImage)"
    found = cells("\n".join(text.splitlines()[1:]))
    assert list(found) == [
        "f32 openvino",
        "top-1 agreement",
        "score drift, mean",
        "score drift, largest",
        "images/s",
    ]
    assert found["f32 openvino"] == ["bf16 openvino"]
    assert found["top-1 agreement"][0] == "100 %"
    assert float(found["top-1 agreement"][1].removesuffix(" %")) >= 95
    assert 0 < float(found["score drift, mean"][1]) < float(found["score drift, largest"][1]) < 0.1
    assert all(float(rate) > 0 for rate in found["images/s"])


def test_compare_an_embedder_with_tensorflow(
    tiny_embedder: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", tiny_embedder, "--images", str(images), "--engine", "tensorflow", "--limit", "30"]
    text = run_models(arguments, capsys)
    assert text.startswith(("tiny, 30 images", "tiny, 29 images, 1 left out"))
    found = cells("\n".join(text.splitlines()[1:]))
    assert found["f32 tensorflow"] == ["bf16 tensorflow"]
    assert float(found["cosine, least"][1]) >= 0.99
    assert float(found["10 nearest kept"][1].removesuffix(" %")) >= 80


def test_quantize_then_compare_then_run(
    tiny_classifier: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(shutil.copytree(tiny_classifier, tmp_path / "copy"))
    text = run_models(["quantize", model, "--images", str(images)], capsys)
    assert text.splitlines()[0] == f"tiny now has an int8 form, at {model}; 40 images, 1 left out (1 NotAnImage)"
    measured = bundle.read(model).checks["int8"]
    assert cells(text)["top1"] == [f"{measured['top1']:.5g}"]
    assert (cells(text)["calibrated with"], cells(text)["drawn"]) == (["27"], ["19"])

    compared = run_models(["compare", model, "--images", str(images), "--precision", "int8"], capsys)
    assert "int8 openvino" in compared

    command = ["run", "--images", str(images), "--output", str(tmp_path / "out"), "--embedder", "none"]
    folders: set[str] = set()
    for precision in ("f32", "int8"):
        assert app.main([*command, "--classifier", model, "--precision", precision]) == codes.DONE
        assert len(tables.rows(tmp_path / "out", "predictions", tmp_path)) == 40 * (len(folders) + 1)
        folders = {path.name for path in (tmp_path / "out" / "predictions").iterdir()}
    assert len(folders) == 2, "another precision is another recipe"


def test_quantize_the_trained_model_and_run_it(quantized: Mapping[str, str], shared_dir: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, pixels in enumerate(changed(shared_dir / "photos", range(500, 512), 300)):
        (photos / f"{number:02}.png").write_bytes(drawn.encode(pixels, "png"))
    found = {}
    for precision in ("f32", "int8"):
        out = tmp_path / precision
        command = ["run", "--images", str(photos), "--output", str(out / "out"), "--precision", precision]
        models = ["--classifier", quantized["classification"], "--embedder", quantized["feature_vector"]]
        assert app.main([*command, *models]) == codes.DONE
        found[precision] = [row["class_id"] for row in tables.rows(out / "out", "predictions", tmp_path)]
        assert len(tables.rows(out / "out", "embeddings", tmp_path)) == 12
    assert sum(a == b for a, b in zip(found["f32"], found["int8"], strict=True)) >= 11


def test_a_bundle_on_gs(
    tiny_embedder: str,
    images: Path,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    uri = bucket.uri("tiny")
    bundle.write(bundle.read(tiny_embedder), Path(tiny_embedder), uri)
    assert f"at {uri};" in run_models(["quantize", uri, "--images", str(images)], capsys)
    assert {"tiny/openvino/int8.xml", "tiny/openvino/int8.bin"} < set(bucket.names())
    assert "int8 openvino" in run_models(["compare", uri, "--images", str(images), "--precision", "int8"], capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["compare", "{model}", "--images", "{images}", "--precision", "int8"], "models quantize"),
        (["compare", "{images}", "--images", "{images}"], "is not a bundle"),
        (["compare", "{model}", "--images", "{images}/none"], "no such file"),
        (["compare", "{model}", "--images", "{images}/broken.png"], "none of the images can be read (1 NotAnImage)"),
        (["quantize", "{model}", "--images", "{images}/broken.png"], "none of the images can be read (1 NotAnImage)"),
        (["quantize", "{model}", "--images", "{images}", "--agreement", "1.01"], "1.01 is needed"),
        (["quantize", "{images}", "--images", "{images}"], "is not a bundle"),
    ],
)
def test_wrong_use(
    arguments: list[str], expected: str, tiny_classifier: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["models", *(word.format(model=tiny_classifier, images=images) for word in arguments)]
    assert app.main(given) == codes.WRONG_USE
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert bundle.read(tiny_classifier).ir("int8") is None


def test_without_nncf_no_image_is_touched(
    tiny_classifier: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    arguments = ["quantize", tiny_classifier, "--images", "nowhere"]
    assert "pip install 'beamsight[quantize]'" in run_models(arguments, capsys, codes.WRONG_USE)


def test_f32_is_not_compared_with_itself(tiny_classifier: str, images: Path) -> None:
    with pytest.raises(UsageError, match="--precision 'f32': choose from bf16, int8"):
        CompareOptions(tiny_classifier, (str(images),), "f32")  # type: ignore[arg-type]


def test_a_sample_is_the_same_each_time_and_from_all_over(images: Path) -> None:
    chosen = sample_images.choose([str(images), str(images / "03.png")], 10)
    assert chosen == sample_images.choose([str(images / "03.png"), str(images)], 10)
    names = sorted(Path(ref.uri).name for ref in chosen)
    assert len(set(names)) == 10
    assert names[0] < "20.png" < names[-1]  # chance alone, by the path of the folder, fails this once in 1,000 times
    assert len(sample_images.choose([str(images), str(images / "03.png")], 100)) == 41, (
        "an image named twice counts once"
    )


def test_chunks_hold_the_images_in_order_whatever_their_size(images: Path) -> None:
    refs = sample_images.choose([str(images)], 41)
    at_once = sample_images.Sample(refs, EMBEDDER)
    [whole] = at_once.chunks(100)
    some = sample_images.Sample(refs, EMBEDDER)
    parts = list(some.chunks(7))
    assert whole.shape == (40, 16, 16, 3)
    assert [len(part) for part in parts].count(7) >= 4
    assert np.array_equal(np.concatenate(parts), whole)
    assert at_once.broken == some.broken == {"NotAnImage": 1}
