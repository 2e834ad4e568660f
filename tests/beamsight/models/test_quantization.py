"""int8 forms of a small model with trained weights and of tiny models."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from changed_photos import changed
from gcs_server import Bucket

from beamsight.models import agreement, quantization
from transforms import vector_math
from transforms.errors import ModelError
from transforms.imaging import drawn
from transforms.inference import bundle, engines
from transforms.inference.engine import Floats, Pixels
from transforms.inference.spec import ModelSpec
from transforms.storage import files

FORM = {"openvino/int8.bin", "openvino/int8.xml"}
TINY = np.stack([drawn.draw(seed, 16, 16) for seed in range(120)])


@pytest.fixture
def copy(tiny_classifier: str, tmp_path: Path) -> str:
    return shutil.copytree(tiny_classifier, tmp_path / "copy").as_posix()


def outputs(folder: str | Path, pixels: Pixels, spec: ModelSpec | None = None) -> tuple[Floats, Floats]:
    """Return the outputs of a bundle's f32 and int8 forms."""
    spec = spec or bundle.read(str(folder)).spec
    before, after = (engines.load("openvino", Path(folder), spec, form).infer(pixels) for form in ("f32", "int8"))
    return before, after


@pytest.fixture(scope="session")
def unseen(shared_dir: Path) -> dict[str, Pixels]:
    """Images that did not calibrate any form."""
    return {
        "photos": changed(shared_dir / "photos", range(10_000, 10_300), 224),
        "drawn": np.stack([drawn.draw(seed, 224, 224) for seed in range(10_000, 10_200)]),
    }


def test_a_trained_classifier_agrees(quantized: Mapping[str, str], unseen: Mapping[str, Pixels]) -> None:
    before, after = outputs(quantized["classification"], unseen["photos"])
    assert vector_math.top1_agreement(before, after) >= 0.97
    assert vector_math.cosines(before, after).mean() >= 0.98
    assert agreement.score_drift(before, after).mean <= 0.02
    # Drawn images show nothing that the model was trained on. Their best class often has a score of only 0.2, and tiny
    # changes flip it, also in bf16 (0.78 of 300 images agree, 0.87 in int8). The probabilities still stay close.
    before, after = outputs(quantized["classification"], unseen["drawn"])
    assert vector_math.top1_agreement(before, after) >= 0.8
    assert vector_math.cosines(before, after).mean() >= 0.98


def test_vectors_of_a_trained_model_agree(quantized: Mapping[str, str], unseen: Mapping[str, Pixels]) -> None:
    before, after = outputs(quantized["feature_vector"], np.concatenate(list(unseen.values())))
    cosines = vector_math.cosines(before, after)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.95
    assert agreement.neighbours_kept(before, after) >= 0.88


@pytest.mark.parametrize("form", ["classification", "feature_vector"])
def test_the_bundle_records_the_form_and_keeps_its_content_hash(
    quantized: Mapping[str, str], trained: Mapping[str, str], form: str
) -> None:
    before, made = bundle.read(trained[form]), bundle.read(quantized[form])
    bundle.verify(Path(quantized[form]), made)
    assert made.files.keys() - before.files.keys() == FORM
    assert made.content_hash == before.content_hash
    assert made.files_hash != before.files_hash
    assert made.made_with.keys() - before.made_with.keys() == {"nncf"}
    assert made.checks["f32"] == before.checks["f32"]
    measured = made.checks["int8"]
    counts = {key: measured.pop(key) for key in ("calibrated_with", "checked_with", "drawn")}
    assert counts == {"calibrated_with": 90, "checked_with": 45, "drawn": 0}
    if form == "classification":
        assert measured.keys() == {"top1", "mean_drift", "largest_drift"}
        assert 0.85 <= measured["top1"] <= 1
    else:
        assert measured.keys() == {"mean_cosine", "least_cosine"}
        assert 0.98 <= measured["mean_cosine"] <= 1


def test_what_checks_a_form_did_not_calibrate_it() -> None:
    spec = ModelSpec(name="tiny", task="embed", size=16, width=8, output="features")
    calibration, checks, added = quantization.split(TINY, spec)
    assert added == 0
    assert np.array_equal(checks, TINY[2::3])
    assert np.array_equal(calibration[::2], TINY[0::3])
    assert np.array_equal(calibration[1::2], TINY[1::3])


@pytest.mark.parametrize(("images", "calibrated"), [(1, 1), (2, 2), (9, 6)])
def test_few_images_are_joined_by_drawn_ones(images: int, calibrated: int) -> None:
    spec = ModelSpec(name="tiny", task="embed", size=16, width=8, output="features")
    calibration, checks, added = quantization.split(TINY[:images], spec)
    assert len(calibration) == calibrated
    assert added == quantization.CHECKS - (images - calibrated)
    assert len(checks) == quantization.CHECKS
    assert np.array_equal(checks[-added], drawn.draw(0, 16, 16))


@pytest.mark.parametrize("fixture", ["tiny_classifier", "tiny_embedder"])
def test_one_that_disagrees_is_refused_and_nothing_changes(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "copy")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match=r"tiny agrees with f32 to \S+ \(.* 40 images, 0 of them .* 1\.01 is needed"):
        quantization.quantize(str(copy), TINY, 1.01)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_the_careful_method_is_used_where_the_quick_one_disagrees(copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both methods make a form. The first one gets outputs in another order, so that it disagrees."""
    tried: list[quantization.Method] = []
    write, measure = quantization._write, quantization.measure

    def written(nncf: object, source: Path, calibration: Pixels, method: quantization.Method, to: Path) -> None:
        tried.append(method)
        write(nncf, source, calibration, method, to)

    def measured(reference: Floats, found: Floats, spec: ModelSpec) -> dict[str, float]:
        return measure(reference, found[::-1] if len(tried) == 1 else found, spec)

    monkeypatch.setattr(quantization, "_write", written)
    monkeypatch.setattr(quantization, "measure", measured)
    made = quantization.quantize(copy, TINY)
    assert tried == [quantization.QUICK, quantization.CAREFUL]
    assert made.checks["int8"]["top1"] >= 0.97


@pytest.mark.parametrize("fixture", ["tiny_classifier", "tiny_embedder"])
def test_a_form_that_gives_nan_is_refused(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "copy")
    measure = quantization.measure

    def broken(reference: Floats, found: Floats, spec: ModelSpec) -> dict[str, float]:
        found[3, 0] = np.nan
        return measure(reference, found, spec)

    monkeypatch.setattr(quantization, "measure", broken)
    with pytest.raises(ModelError, match="agrees with f32 to 0 "):
        quantization.quantize(str(copy), TINY, 0.5)


def test_an_existing_form_is_replaced(copy: str) -> None:
    first = quantization.quantize(copy, TINY[:30])
    second = quantization.quantize(copy, TINY)
    assert first.checks["int8"]["drawn"] == 22
    assert second.checks["int8"]["drawn"] == 0
    assert second == bundle.read(copy)
    assert second.content_hash == first.content_hash
    assert second.quantized_hash() != first.quantized_hash()
    bundle.verify(Path(copy), second)


def test_killed_while_it_replaces_a_form_the_bundle_works(copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quantization.quantize(copy, TINY[:30])
    with monkeypatch.context() as patch:
        write = files.write

        def killed(uri: str, data: bytes) -> None:
            if uri.endswith("int8.xml"):
                raise KeyboardInterrupt
            write(uri, data)

        patch.setattr(files, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            quantization.quantize(copy, TINY)
    made = bundle.read(copy)
    assert made.ir("int8") is None
    assert made.checks.keys() == {"f32"}
    bundle.verify(Path(copy), made)


def test_a_bundle_on_gs(tiny_embedder: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path))
    before = bundle.read(tiny_embedder)
    bundle.write(before, Path(tiny_embedder), bucket.uri("models/tiny"))
    bucket.gcs.requests.clear()
    made = quantization.quantize(bucket.uri("models/tiny"), TINY)
    written = [path for method, path in bucket.gcs.requests if method in ("POST", "PUT")]
    assert len(written) == 3
    assert made == bundle.read(bucket.uri("models/tiny"))
    assert set(bucket.names()) == {f"models/tiny/{path}" for path in {*before.files, *FORM, "model.json"}}
    folder = bundle.localize(bucket.uri("models/tiny"), before.content_hash)
    one, other = outputs(folder, TINY, before.spec)
    assert vector_math.cosines(one, other).mean() >= 0.98


def test_a_bundle_without_an_ir_is_refused(copy: str) -> None:
    made = bundle.read(copy)
    files = {path: digest for path, digest in made.files.items() if not path.startswith("openvino/")}
    without = bundle.Bundle(made.spec, made.source, files, made.made_with)
    Path(copy, "model.json").write_text(without.to_json())
    with pytest.raises(ModelError, match=r"no OpenVINO form .* stage the model again"):
        quantization.quantize(copy, TINY)


def test_a_damaged_bundle_is_refused(copy: str) -> None:
    weights = Path(copy, "openvino", "f32.bin")
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ModelError, match="changed or damaged"):
        quantization.quantize(copy, TINY)


def test_without_nncf(copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModelError, match=r"pip install 'beamsight\[quantize\]'"):
        quantization.quantize(copy, TINY)


def test_nncf_keeps_quiet(copy: str, capfd: pytest.CaptureFixture[str]) -> None:
    quantization.quantize(copy, TINY)
    assert capfd.readouterr() == ("", "")
    assert type(logging.getLogger("made.after.nncf")) is logging.Logger
