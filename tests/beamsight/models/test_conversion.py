from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import irs
import numpy as np
import pytest
import saved_models
import tables
from gcs_server import Bucket
from PIL import Image

from beamsight.models import conversion, make_bundle, registry, staging
from beamsight.models.options import StageOptions
from runners.cli import app, codes
from transforms.errors import ModelError
from transforms.imaging import drawn, fit
from transforms.inference import bundle, engines
from transforms.inference.engine import Pixels
from transforms.inference.libraries import openvino
from transforms.inference.openvino_engine import OpenVINOEngine
from transforms.inference.spec import ModelSpec

SPEC = ModelSpec(name="birds", task="classify", size=12, width=5, output="logits")
ZOO = replace(SPEC, channel_order="bgr", value_range=(0.0, 255.0))
AUTO_AUG = registry.get("efficientnet-b7_auto_aug", "classify")
LABELS = "owl\nheron\nstork\ncrane\nrail\n"


def pictures(number: int = 3, side: int = SPEC.size) -> Pixels:
    return np.stack([drawn.draw(seed, side, side) for seed in range(number)])


def converted(source: Path, spec: ModelSpec) -> OpenVINOEngine:
    to = source.with_name("made") / "f32.xml"
    conversion.from_ir(source, spec, to)
    return OpenVINOEngine(to, spec, "f32")


def assert_right(model: OpenVINOEngine, spec: ModelSpec) -> None:
    tolerance = 1e-5 * max(map(abs, spec.value_range))
    np.testing.assert_allclose(model.infer(pictures()), irs.expected(pictures(), spec), rtol=1e-4, atol=tolerance)


def refused(source: Path, spec: ModelSpec) -> str:
    """Return the message of the ModelError, and check that nothing was written."""
    to = source.with_name("made") / "f32.xml"
    with pytest.raises(ModelError) as caught:
        conversion.from_ir(source, spec, to)
    assert not to.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- IR -> IR -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "layout", "value_range"),
    itertools.product(["rgb", "bgr"], ["nhwc", "nchw"], [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0), (-2.0, 0.5)]),
)
def test_layouts_channel_orders_and_ranges(
    tmp_path: Path, order: Any, layout: Any, value_range: tuple[float, float]
) -> None:
    spec = replace(SPEC, channel_order=order, layout=layout, value_range=value_range)
    assert_right(converted(irs.save(tmp_path / "own.xml", spec), spec), spec)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("options", [{"batch": -1}, {"batch": 8}, {"side": -1}, {"batch": -1, "side": -1}], ids=str)
def test_what_is_dynamic_or_of_another_batch_becomes_one_picture(
    tmp_path: Path, layout: Any, options: dict[str, Any]
) -> None:
    spec = replace(ZOO, layout=layout)
    assert_right(converted(irs.save(tmp_path / "own.xml", spec, **options), spec), spec)


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int32])
def test_inputs_of_another_type(tmp_path: Path, dtype: Any) -> None:
    assert_right(converted(irs.save(tmp_path / "own.xml", ZOO, dtype=dtype), ZOO), ZOO)


@pytest.mark.parametrize("believed", ["nhwc", "nchw"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("options", [{}, {"side": -1}], ids=str)
def test_the_shape_says_the_layout(tmp_path: Path, layout: Any, believed: Any, options: dict[str, Any]) -> None:
    source = irs.save(tmp_path / "own.xml", replace(SPEC, layout=layout), **options)
    spec = replace(SPEC, layout=believed)
    assert conversion.from_ir(source, spec, tmp_path / "f32.xml") == layout
    assert_right(OpenVINOEngine(tmp_path / "f32.xml", spec, "f32"), spec)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_spec_says_the_layout_where_the_shape_fits_both(tmp_path: Path, layout: Any) -> None:
    """An input of [1, 3, 3, 3]. Its means over the second axis are those of rows in one layout, of colours else."""
    ops = openvino().opset13
    images = ops.parameter([1, 3, 3, 3], np.float32)
    source = irs.write(tmp_path / "own.xml", images, [ops.reduce_mean(images, [2, 3], False)])
    spec = replace(SPEC, size=3, width=3, layout=layout)
    pixels = pictures(2, 3)
    axes = (1, 2) if layout == "nchw" else (2, 3)
    expected = (pixels / 255).mean(axis=axes)
    np.testing.assert_allclose(converted(source, spec).infer(pixels), expected, rtol=1e-4)


@pytest.mark.parametrize("axes", [(0, -1, 1, 1), (0, 1, 1, -1), (0, 1, -1), (-1,)], ids=str)
@pytest.mark.parametrize("width", [0, 5])
def test_axes_of_length_1_are_squeezed(tmp_path: Path, axes: tuple[int, ...], width: int) -> None:
    source = irs.save(tmp_path / "own.xml", ZOO, axes=axes)
    assert_right(converted(source, replace(ZOO, width=width)), ZOO)
    model = openvino().Core().read_model(tmp_path / "made" / "f32.xml")
    assert (model.output().names, list(model.output().shape)) == ({irs.OUTPUT}, [1, 5])


def test_the_output_of_two_axes_precedes_others(tmp_path: Path) -> None:
    """As where a classifier also gives its pooled features, [1, features, 1, 1]."""
    ops = openvino().opset13
    images = ops.parameter([1, 12, 12, 3], np.float32)
    means = ops.reduce_mean(images, [1, 2], False)
    outputs = [ops.reshape(means, [1, 3, 1, 1], False), ops.matmul(means, np.ones((3, 4), np.float32), False, False)]
    source = irs.write(tmp_path / "own.xml", images, outputs)
    assert converted(source, replace(SPEC, width=0)).infer(pictures()).shape == (3, 4)
    assert converted(source, replace(SPEC, width=3)).infer(pictures()).shape == (3, 3)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_outputs_in_half_precision(tmp_path: Path, dtype: str, precision: Any) -> None:
    source = irs.save(tmp_path / "own.xml", SPEC, output_dtype=dtype, axes=(0, -1, 1, 1))
    conversion.from_ir(source, SPEC, tmp_path / "f32.xml")
    outputs = OpenVINOEngine(tmp_path / "f32.xml", SPEC, precision).infer(pictures())
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, irs.expected(pictures(), SPEC), rtol=2e-2, atol=5e-2)


def test_weights_in_half_precision(tmp_path: Path) -> None:
    ov = openvino()
    ov.save_model(ov.Core().read_model(irs.save(tmp_path / "own.xml", SPEC)), tmp_path / "half.xml")
    outputs = converted(tmp_path / "half.xml", SPEC).infer(pictures())
    np.testing.assert_allclose(outputs, irs.expected(pictures(), SPEC), rtol=1e-2, atol=1e-2)


def test_the_output_that_fits_is_taken(tmp_path: Path) -> None:
    assert_right(converted(irs.save(tmp_path / "own.xml", SPEC, also_pooled=True), replace(SPEC, width=0)), SPEC)
    assert_right(converted(irs.save(tmp_path / "own.xml", SPEC, widths=[7, 5], also_pooled=True), SPEC), SPEC)


def test_names_and_shapes_of_what_is_written(tmp_path: Path) -> None:
    source = irs.save(tmp_path / "own.xml", ZOO)
    converted(source, ZOO)
    for path, kind in ((source, "f32"), (tmp_path / "made" / "f32.xml", "u8")):
        model = openvino().Core().read_model(path)
        (images,), (outputs,) = model.inputs, model.outputs
        assert (images.names, outputs.names) == ({irs.INPUT}, {irs.OUTPUT})
        assert (list(images.shape), list(outputs.shape)) == ([1, 12, 12, 3], [1, 5])
        assert images.element_type.get_type_name() == kind


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    saved = saved_models.save(tmp_path / "model")
    own = irs.save(tmp_path / "own.xml", ZOO)
    for folder in ("once", "again"):
        conversion.from_ir(own, ZOO, tmp_path / folder / "ir.xml")
        conversion.from_saved_model(saved, replace(SPEC, size=8), tmp_path / folder / "saved.xml")
    assert saved_models.contents(tmp_path / "once") == saved_models.contents(tmp_path / "again")


@pytest.mark.parametrize(
    ("spec", "takes"),
    [
        (replace(SPEC, size=15), "[1,12,12,3]"),
        (replace(SPEC, size=9), "[1,12,12,3]"),
        (replace(SPEC, size=9, layout="nchw"), "[1,12,12,3]"),
    ],
)
def test_another_size(tmp_path: Path, spec: ModelSpec, takes: str) -> None:
    source = irs.save(tmp_path / "own.xml", SPEC)
    size = spec.size
    shape = [1, size, size, 3] if spec.layout == "nhwc" else [1, 3, size, size]
    assert refused(source, spec) == f"{source} does not take {shape} (it takes {takes}); check --size"


def test_a_size_that_only_the_network_refuses(tmp_path: Path) -> None:
    source = irs.save(tmp_path / "own.xml", SPEC, side=-1)
    message = refused(source, replace(SPEC, size=9))
    assert message.startswith(f"{source} does not take [1, 9, 9, 3] (")
    assert message.endswith("); check --size")


def test_two_inputs(tmp_path: Path) -> None:
    ov = openvino()
    left, right = (ov.opset13.parameter([1, 12, 12, 3], np.float32) for _ in range(2))
    means = ov.opset13.reduce_mean(ov.opset13.add(left, right), [1, 2], False)
    ov.save_model(ov.Model([means], [left, right], "two"), tmp_path / "own.xml")
    assert refused(tmp_path / "own.xml", SPEC) == (
        f"{tmp_path}/own.xml takes 2 inputs; it must take one batch of images"
    )


@pytest.mark.parametrize(
    ("options", "width", "shapes", "what"),
    [
        ({"widths": [7, 6]}, 5, "[1,7], [1,6]", "[1, 5]"),
        ({"widths": [7, 6]}, 0, "[1,7], [1,6]", "[1, width]"),
        ({"widths": [5, 5]}, 5, "[1,5], [1,5]", "[1, 5]"),
    ],
)
def test_outputs_of_which_none_or_several_fit(
    tmp_path: Path, options: dict[str, Any], width: int, shapes: str, what: str
) -> None:
    source = irs.save(tmp_path / "own.xml", SPEC, **options)
    message = refused(source, replace(SPEC, width=width))
    assert message == f"birds: outputs are {shapes}; exactly one must be {what}"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    source = irs.save(tmp_path / "own.xml", SPEC)
    source.with_suffix(".bin").write_bytes(b"")
    assert refused(source, SPEC) == f"{source} cannot be read as an IR: Incorrect weights in bin file!"
    source.write_text("<html>please log in</html>")
    assert refused(source, SPEC).startswith(f"{source} cannot be read as an IR: ")


# --- a user's own IR, from staging to the table ---------------------------------------------------------------------


def test_an_ir_of_the_zoo_is_the_model_that_it_was_made_from(shared_dir: Path, tmp_path: Path) -> None:
    """An IR with the conventions of the Open Model Zoo gives the same results as its SavedModel in TensorFlow."""
    saved = shared_dir / "models" / "mobilenet_v1_025_224" / "classification_logits"
    source = irs.exported(tmp_path / "zoo" / "mobilenet.xml", saved, replace(AUTO_AUG, size=224))
    ir, tf = tmp_path / "ir", tmp_path / "tf"
    stage = ["models", "stage", str(source), "--to", str(ir), "--name", AUTO_AUG.name, "--size", "224"]
    assert app.main(stage) == codes.DONE
    plain = ["--task", "classify", "--size", "224", "--crop", "central"]
    assert app.main(["models", "stage", str(saved), "--to", str(tf), *plain]) == codes.DONE

    made = bundle.read(str(ir))
    assert made.spec == replace(AUTO_AUG, size=224)
    assert set(made.files) == {"labels.txt", "openvino/f32.xml", "openvino/f32.bin"}
    read = []
    for folder, options in ((ir, []), (tf, ["--engine", "tensorflow"])):
        out = folder.with_name(f"out-{folder.name}")
        run = ["run", "--images", str(shared_dir / "photos"), "--output", str(out), "--embedder", "none"]
        assert app.main([*run, "--classifier", str(folder), "--probabilities", *options]) == codes.DONE
        read.append(tables.rows(out, "predictions", tmp_path))
    assert len(read[0]) == 3
    for row, other in zip(*read, strict=True):
        assert row["uri"] == other["uri"]
        assert row["class_id"] == other["class_id"]
        np.testing.assert_allclose(row["probabilities"], other["probabilities"], atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "options"),
    [("nhwc", {}), ("nchw", {"axes": (0, -1, 1, 1), "output_dtype": "f16"})],
    ids=["as published", "as converted"],
)
def test_the_registered_one_at_its_own_size(tmp_path: Path, layout: Any, options: dict[str, Any]) -> None:
    spec = replace(AUTO_AUG, layout=layout)
    source = irs.save(tmp_path / "FP32" / "efficientnet-b7_auto_aug.xml", spec, **options)
    made = make_bundle.stage(StageOptions(str(source), str(tmp_path / "bundle"), name="efficientnet-b7_auto_aug"))
    assert made.spec == spec
    pixels = np.stack(
        [fit.fit_image(Image.fromarray(drawn.draw(seed, 800 + seed, 650)), AUTO_AUG) for seed in range(2)]
    )
    outputs = engines.load("openvino", tmp_path / "bundle", made.spec).infer(pixels)
    relative, absolute = (1e-2, 2) if options else (1e-4, 1e-2)
    np.testing.assert_allclose(outputs, irs.expected(pixels, AUTO_AUG), relative, absolute)


def test_help_says_that_an_ir_is_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["models", "stage", "--help"])
    assert "the .xml of an OpenVINO IR, with its .bin beside it" in " ".join(capsys.readouterr().out.split())


def test_a_bundle_from_an_ir(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = irs.save(tmp_path / "birds.xml", ZOO)
    to = tmp_path / "bundle"
    made = staging.stage(str(source), replace(ZOO, width=0), str(to), labels_text=LABELS)
    assert made == bundle.read(str(to))
    assert (made.spec, made.checks, made.has_saved_model) == (ZOO, {}, False)
    assert engines.choose(None, "f32", made, gpu=True) == "openvino"
    with pytest.raises(ModelError, match="birds was staged from an IR, which TensorFlow cannot run"):
        engines.choose("tensorflow", "f32", made, gpu=False)
    outputs = engines.load("openvino", to, made.spec).infer(pictures())
    np.testing.assert_allclose(outputs, irs.expected(pictures(), ZOO), rtol=1e-4, atol=1e-2)

    again = staging.stage(str(source), ZOO, str(to), labels_text=LABELS, expected_hash=made.content_hash)
    assert again == made
    other = irs.save(tmp_path / "other.xml", replace(ZOO, channel_order="rgb"), widths=[5])
    with pytest.raises(ModelError, match=f"{to} holds another bundle, birds {made.content_hash[:16]}…; choose"):
        staging.stage(str(other), replace(ZOO, value_range=(0.0, 1.0)), str(to), labels_text=LABELS)


def test_an_ir_on_gs(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    source = irs.save(tmp_path / "birds.xml", ZOO)
    for path in (source, source.with_suffix(".bin")):
        bucket.put(f"zoo/{path.name}", path.read_bytes())
    made = staging.stage(bucket.uri("zoo/birds.xml"), ZOO, bucket.uri("bundles/birds"), labels_text=LABELS)
    assert made.source == bucket.uri("zoo/birds.xml")
    local = bundle.localize(bucket.uri("bundles/birds"), made.content_hash)
    assert replace(made, source=str(source)) == staging.stage(
        str(source), ZOO, str(tmp_path / "bundle"), labels_text=LABELS
    )
    np.testing.assert_allclose(
        engines.load("openvino", local, made.spec).infer(pictures()),
        irs.expected(pictures(), ZOO),
        rtol=1e-4,
        atol=1e-2,
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(ZOO, width=7), "gives 5 numbers an image where birds gives 7; wrong model?"),
        (replace(ZOO, size=24), "does not take [1, 24, 24, 3] (it takes [1,12,12,3]); check --size"),
    ],
)
def test_an_ir_that_is_not_what_it_should_be(tmp_path: Path, spec: ModelSpec, message: str) -> None:
    source = irs.save(tmp_path / "birds.xml", ZOO)
    with pytest.raises(ModelError) as caught:
        staging.stage(str(source), spec, str(tmp_path / "bundle"), labels_text=LABELS)
    assert str(caught.value) == f"{source} {message}"
    assert not (tmp_path / "bundle").exists()


def test_an_ir_that_does_not_run(tmp_path: Path) -> None:
    spec = ModelSpec(name="birds", task="classify", size=8, width=5, output="logits", value_range=(0.0, 1000.0))
    source = irs.sometimes(tmp_path / "birds.xml", 5, "refuse")
    with pytest.raises(ModelError) as caught:
        staging.stage(str(source), spec, str(tmp_path / "bundle"), labels_text=LABELS)
    assert str(caught.value).startswith(f"{source} does not run on 8x8 images: birds: [cpu]reshape: the shape of")
    assert str(caught.value).endswith(
        "is it the right model and --size? pass the .xml of an image model's IR, with its .bin beside it"
    )


# --- agreement ------------------------------------------------------------------------------------------------------


def test_agreement() -> None:
    reference = np.array([[3, 4], [0, -5]], np.float32)
    assert conversion.agreement(reference, reference) == {
        "largest_difference": 0.0,
        "top1": 1.0,
        "least_cosine": 1.0,
    }
    found = conversion.agreement(reference, np.array([[4, 3], [0, -5]], np.float32))
    assert found == pytest.approx({"largest_difference": 0.2, "top1": 0.5, "least_cosine": 0.96})


def test_agreement_of_zeros() -> None:
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert conversion.agreement(zeros, zeros) == {"largest_difference": 0.0, "top1": 1.0, "least_cosine": 1.0}
    assert conversion.agreement(ones, zeros) == {"largest_difference": 1.0, "top1": 1.0, "least_cosine": 0.0}


def test_agreement_with_nan() -> None:
    found = conversion.agreement(np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))
    assert np.isnan(found["largest_difference"])
    assert found["least_cosine"] == 0
