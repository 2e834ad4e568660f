from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import saved_models
from gcs_server import Bucket
from hub_server import Answer, HubServer
from saved_models import SHARD, SIZE

from beamsight.models import conversion, registry, staging
from runners.cli import app, codes
from transforms.errors import FetchError, ModelError, UsageError
from transforms.imaging import drawn
from transforms.inference import bundle, engines, heads, labels
from transforms.inference.bundle import Bundle
from transforms.inference.labels import Label
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import EngineName, ModelSpec, Task

CLASSIFIER = ModelSpec(name="birds", task="classify", size=SIZE, width=0, output="probabilities")
EMBEDDER = ModelSpec(name="birds", task="embed", size=SIZE, width=0, output="features")
LABELS = "owl\nheron\nstork\ncrane\nrail\n"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``saved_models.save`` to ``model`` in the test's folder."""
    return lambda *args, **options: saved_models.save(tmp_path / "model", *args, **options)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    with HubServer() as server:
        yield server


def stage(source: object, to: object, spec: ModelSpec = CLASSIFIER, **options: Any) -> Bundle:
    text = LABELS if spec.task == "classify" else None
    return staging.stage(str(source), spec, str(to), **{"labels_text": text} | options)


def refused(source: object, to: Path, spec: ModelSpec = CLASSIFIER, **options: Any) -> str:
    """Return the message of the ModelError, and check that nothing was written to ``to``."""
    with pytest.raises(ModelError) as caught:
        stage(source, to, spec, **options)
    assert not to.exists()
    return str(caught.value)


def test_what_a_bundle_holds(save: Save, to: Path) -> None:
    model = save()
    made = stage(model, to)
    stored = saved_models.contents(to)
    assert bundle.read(str(to)) == made
    forms = {path: data for path, data in stored.items() if path.startswith("openvino/")}
    assert forms.keys() == {"openvino/f32.xml", "openvino/f32.bin"}
    assert stored == forms | {
        **{f"saved_model/{path}": data for path, data in saved_models.contents(model).items()},
        "labels.txt": LABELS.encode(),
        "model.json": made.to_json().encode(),
    }
    checks: dict[str, Any] = {
        "largest_difference": pytest.approx(0, abs=1e-6),
        "top1": 1.0,
        "least_cosine": pytest.approx(1),
    }
    assert made == Bundle(
        spec=replace(CLASSIFIER, width=5),
        source=str(model),
        files={path: bundle.sha256(to / path) for path in stored if path != "model.json"},
        made_with={name: metadata.version(name) for name in ("beamsight", "openvino", "tensorflow")},
        checks={"f32": checks},
    )
    bundle.verify(to, made)


def test_a_bundle_can_be_run(save: Save, to: Path) -> None:
    made = stage(save(saved_models.features), to, EMBEDDER)
    pixels = np.stack([drawn.draw(seed, SIZE, SIZE) for seed in range(3)])
    for engine in get_args(EngineName):
        outputs = engines.load(engine, bundle.localize(str(to), made.content_hash), made.spec).infer(pixels)
        np.testing.assert_allclose(outputs, saved_models.expected(pixels, saved_models.weights(5)), atol=1e-5)


def test_an_embedder_has_no_labels(save: Save, to: Path) -> None:
    made = stage(save(saved_models.features, width=7), to, EMBEDDER, labels_text=None)
    assert made.spec == replace(EMBEDDER, width=7)
    assert "labels.txt" not in made.files
    assert not (to / "labels.txt").exists()
    assert bundle.load_labels(to, made.spec) == ()


def test_the_users_own_labels(save: Save, to: Path) -> None:
    made = stage(save(), to)
    assert bundle.load_labels(to, made.spec) == tuple(Label(None, name) for name in LABELS.split())


def test_labels_are_imagenets_by_default(save: Save, to: Path) -> None:
    made = stage(save(width=1000), to, labels_text=None)
    assert made.spec.width == 1000
    assert bundle.load_labels(to, made.spec) == labels.parse(labels.imagenet_text(), "ImageNet's list")


@pytest.mark.parametrize("believed", ["probabilities", "logits"])
@pytest.mark.parametrize("found", ["probabilities", "logits"])
def test_the_kind_of_output_is_detected(save: Save, to: Path, believed: Any, found: Any) -> None:
    made = stage(save(getattr(saved_models, found)), to, replace(CLASSIFIER, output=believed))
    assert made.spec.output == found


@pytest.mark.parametrize("form", ["classification", "classification_logits"])
def test_trained_models_give_the_same_probabilities_either_way(shared_dir: Path, to: Path, form: str) -> None:
    made = stage(
        shared_dir / "models" / "mobilenet_v1_025_224" / form, to, replace(CLASSIFIER, size=224), labels_text=None
    )
    assert (made.spec.width, made.spec.output) == (1000, "logits" if form.endswith("logits") else "probabilities")
    pixels = np.stack([drawn.draw(seed, 224, 224) for seed in range(2)])
    outputs = engines.load("tensorflow", to, made.spec).infer(pixels)
    scores = heads.probabilities(outputs, made.spec.output)
    other = shared_dir / "models" / "mobilenet_v1_025_224" / "classification"
    stage(other, to.with_name("other"), replace(CLASSIFIER, size=224), labels_text=None)
    expected = engines.load("tensorflow", to.with_name("other"), made.spec).infer(pixels)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def sources(model: Path, bucket: Bucket, hub: HubServer) -> dict[str, str]:
    packed = saved_models.archive(model, "top")
    for path, data in saved_models.contents(model).items():
        bucket.put(f"folder/{path}", data)
    bucket.put("model.tar.gz", packed)
    (model.parent / "model.tar.gz").write_bytes(packed)
    return {
        "folder": str(model),
        "gs folder": bucket.uri("folder"),
        "archive": f"{model}.tar.gz",
        "gs archive": bucket.uri("model.tar.gz"),
        "hub": hub.put("/birds/1", Answer(saved_models.archive(model))),
    }


@pytest.mark.parametrize("kind", ["folder", "gs folder", "archive", "gs archive", "hub"])
def test_every_kind_of_source_makes_the_same_bundle(
    save: Save, to: Path, bucket: Bucket, hub: HubServer, kind: str
) -> None:
    model = save()
    source = sources(model, bucket, hub)[kind]
    made = stage(source, to)
    assert made.source == source
    assert made == replace(stage(model, to.with_name("other")), source=source)
    assert saved_models.contents(to / "saved_model") == saved_models.contents(model)


def test_a_bundle_on_gs(save: Save, to: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    model = save()
    made = stage(model, bucket.uri("bundles/birds"))
    assert bundle.read(bucket.uri("bundles/birds")) == made == stage(model, to)
    local = bundle.localize(bucket.uri("bundles/birds"), made.content_hash)
    assert saved_models.contents(local) | {"model.json": made.to_json().encode()} == saved_models.contents(to)


def test_another_source_can_be_recorded(save: Save, to: Path) -> None:
    assert stage(save(), to, recorded_source="drawn in a test").source == "drawn in a test"


# --- what is refused ------------------------------------------------------------------------------------------------


def test_another_width(save: Save, to: Path) -> None:
    model = save()
    assert refused(model, to, replace(CLASSIFIER, width=7)) == (
        f"{model} gives 5 numbers an image where birds gives 7; wrong model?"
    )


def test_a_classifier_that_is_staged_as_an_embedder(save: Save, to: Path) -> None:
    model = save(width=7)
    otherwise = "pass --task classify, or stage the model without its last layer"
    assert refused(model, to, EMBEDDER) == (
        f"{model} is a classifier and no embedder: its outputs are probabilities, which sum to 1 for each image; "
        f"{otherwise}"
    )


@pytest.mark.parametrize(
    ("width", "options", "what"),
    [
        (1000, {}, "1000 numbers an image, and ImageNet's list has 1000 classes"),
        (1001, {}, "1001 numbers an image, and ImageNet's list has 1000 classes"),  # with a background class
        (5, {"labels_text": LABELS}, "5 numbers an image, and the labels file has 5 classes"),
    ],
)
def test_logits_that_are_staged_as_vectors(
    save: Save, to: Path, width: int, options: dict[str, Any], what: str
) -> None:
    model = save(saved_models.logits, width=width)
    assert refused(model, to, EMBEDDER, **options) == (
        f"{model} is a classifier and no embedder: it gives {what}; pass --task classify, or stage the model without "
        "its last layer; if the numbers are features, pass --labels none"
    )


def test_a_model_json_that_was_edited_is_refused_before_the_run(
    save: Save, to: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save()
    stage(model, to)
    path = to / "model.json"
    path.write_text(path.read_text().replace('"size": 8', '"size": 7'))
    (tmp_path / "photo.png").write_bytes(drawn.encode(drawn.draw(1, 20, 20), "png"))
    run = ["run", "--images", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out"), "--embedder", "none"]
    assert app.main([*run, "--classifier", str(to)]) == codes.WRONG_USE
    assert f"{path}: its hash is " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    stage(model, to)  # the remedy
    assert bundle.read(str(to)).spec.size == SIZE


@pytest.mark.parametrize("ways", [("serving_default",), ("__call__",)])
def test_another_size(save: Save, to: Path, ways: tuple[str, ...]) -> None:
    model = save(side=9, ways=ways)
    message = refused(model, to)
    assert message.startswith(f"{model} does not run on 8x8 images: ")
    assert message.endswith(
        "; is it the right model and --size? pass a complete SavedModel: a folder with saved_model.pb "
        "in it, or its .tar.gz"
    )


def test_another_rank(save: Save, to: Path) -> None:
    message = refused(save(lambda images, kernel: images + kernel[0, 0]), to)
    assert "outputs are output_0 (None, 8, 8, 3); exactly one must be [N, width]" in message


def test_two_inputs(tmp_path: Path, to: Path) -> None:
    tf = tensorflow()
    images = tf.TensorSpec([None, None, None, 3], tf.float32)
    both = tf.function(lambda left, right: tf.reduce_mean(left + right, [1, 2]), input_signature=[images, images])
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=both)
    assert "'serving_default' takes ['left', 'right']; it must take one batch" in refused(tmp_path / "model", to)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spec", [CLASSIFIER, EMBEDDER], ids=["classify", "embed"])
def test_nan_and_infinity(save: Save, to: Path, bad: float, spec: ModelSpec) -> None:
    kernel = saved_models.weights(5)
    kernel[1, 2] = bad
    model = save(saved_models.features, kernel=kernel)
    assert refused(model, to, spec) == (
        f"{model} gives NaN or infinity for drawn images; its weights or its export are broken"
    )


@pytest.mark.parametrize("spec", [CLASSIFIER, EMBEDDER], ids=["classify", "embed"])
def test_the_same_numbers_for_all_pictures(save: Save, to: Path, spec: ModelSpec) -> None:
    model = save(kernel=np.zeros((3, 5), np.float32))
    assert refused(model, to, spec) == (
        f"{model} gives the same numbers for different images; its weights are missing or zero"
    )


def test_a_background_class(save: Save, to: Path) -> None:
    assert refused(save(width=6), to) == (
        "birds has 6 outputs but the labels file has 5 labels; one more output is often a background class: "
        "add a line for it; give --labels FILE"
    )
    assert refused(save(width=1001), to, labels_text=None) == (
        "birds has 1001 outputs but ImageNet's list has 1000 labels; one more output is often a background class: "
        "add a line for it; give --labels FILE"
    )


def test_labels_of_another_length(save: Save, to: Path) -> None:
    model = save()
    assert refused(model, to, labels_text="owl\n") == (
        "birds has 5 outputs but the labels file has 1 labels; give --labels FILE"
    )
    assert refused(model, to, labels_text=None) == (
        "birds has 5 outputs but ImageNet's list has 1000 labels; give --labels FILE"
    )


def test_broken_labels_fail_before_anything_is_fetched(to: Path, hub: HubServer) -> None:
    message = refused(hub.url + "/birds/1", to, labels_text="owl\n\nrail\n")
    assert message == "the labels file: line 2 is empty; a labels file holds one class a line"
    assert hub.requests == []


def test_the_hash_that_is_expected(save: Save, to: Path) -> None:
    model = save()
    made = stage(model, to)
    for given in (made.content_hash, made.content_hash.upper()):
        assert stage(model, to.with_name(given[:4]), expected_hash=given) == made


def test_another_hash_than_the_one_expected_is_not_even_run(save: Save, to: Path) -> None:
    tf = tensorflow()
    runs: list[int] = []

    def run(_: Any) -> Any:
        runs.append(1)
        return np.float32(0)

    def spy(images: Any, kernel: Any) -> Any:
        return saved_models.probabilities(images, kernel) + tf.py_function(run, [images], tf.float32)

    model = save(spy)
    message = refused(model, to, expected_hash="0" * 64)
    assert runs == []
    made = stage(model, to)
    assert runs == [1]
    assert message == (
        f"{model} has content hash {made.content_hash} where {'0' * 64} is expected; "
        "the model was not run and nothing was staged: check which of the two is right"
    )


def test_a_download_that_was_cut_off(save: Save, to: Path, hub: HubServer, tmp_path: Path) -> None:
    url = hub.put("/birds/1", Answer(saved_models.archive(save())))
    stage(url, to.with_name("whole"))
    (cached,) = (path for path in (tmp_path / "hub").iterdir() if path.is_dir())
    data = (cached / SHARD).read_bytes()
    remedy = f"if the download was cut off, remove {cached} and stage the model again"

    (cached / SHARD).write_bytes(data[: len(data) // 2])
    message = refused(url, to)
    assert message.startswith(f"{url} does not run on 8x8 images: ")
    assert message.endswith(f"is it the right model and --size? {remedy}")

    (cached / SHARD).unlink()
    assert (
        refused(url, to) == f"{url} is not a complete SavedModel (missing: 1 of 1 variables/variables.data-*); {remedy}"
    )

    (cached / SHARD).write_bytes(data)
    (cached / "saved_model.pb").unlink()
    assert refused(url, to) == f"{url} is not a complete SavedModel (missing: saved_model.pb); {remedy}"


def test_a_link_to_nowhere(save: Save, to: Path) -> None:
    model = save()
    (model / "assets" / "vocabulary").symlink_to("nowhere")
    assert refused(model, to).startswith(f"{model} cannot be copied: ")


def test_a_layout_that_a_saved_model_does_not_have(save: Save, to: Path) -> None:
    model = save()
    assert refused(model, to, replace(CLASSIFIER, layout="nchw")) == (
        f"{model} is a SavedModel, whose layout is nhwc; remove --layout nchw"
    )


# --- its form for OpenVINO ------------------------------------------------------------------------------------------


def tensorflow_only(made: Bundle, to: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Return the warning, and check that the bundle is complete and runs with TensorFlow."""
    assert bundle.read(str(to)) == made
    bundle.verify(to, made)
    assert not (to / "openvino").exists()
    assert made.ir("f32") is None
    name = engines.choose(None, "f32", made, gpu=False)
    assert name == "tensorflow"
    assert engines.load(name, to, made.spec).infer(np.zeros((1, SIZE, SIZE, 3), np.uint8)).shape == (1, 5)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    return record.getMessage()


def test_a_model_that_openvino_cannot_run(save: Save, to: Path, caplog: pytest.LogCaptureFixture) -> None:
    tf = tensorflow()

    def foreign(images: Any, kernel: Any) -> Any:
        values = saved_models.features(images, kernel)
        return tf.ensure_shape(tf.py_function(lambda given: given, [values], tf.float32), values.shape)

    made = stage(save(foreign), to, EMBEDDER)
    assert made.checks == {}
    message = tensorflow_only(made, to, caplog)
    assert message.startswith("birds will run with TensorFlow only: ")
    assert "\n" not in message


@pytest.fixture
def other_ir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Convert another model than the SavedModel: ``saved_models.save`` with these arguments."""
    convert = conversion.from_saved_model

    def use(*args: Any, **options: Any) -> None:
        other = saved_models.save(tmp_path / "other", *args, **options)
        monkeypatch.setattr(conversion, "from_saved_model", lambda _, spec, ir: convert(other, spec, ir))

    return use


def test_an_ir_that_gives_nan(
    save: Save, to: Path, caplog: pytest.LogCaptureFixture, other_ir: Callable[..., None]
) -> None:
    other_ir(kernel=saved_models.weights(5) + np.float32(np.nan))
    made = stage(save(), to)
    assert made.checks == {}
    assert tensorflow_only(made, to, caplog) == (
        "birds will run with TensorFlow only: OpenVINO gives NaN or infinity for drawn images"
    )


@pytest.mark.parametrize(
    ("spec", "kernel", "top1"),
    [
        (CLASSIFIER, -saved_models.weights(5), 0),
        (EMBEDDER, saved_models.weights(5) * np.float32(1.001), 1),
    ],
    ids=["other", "near"],
)
def test_an_ir_that_disagrees(
    save: Save,
    to: Path,
    caplog: pytest.LogCaptureFixture,
    other_ir: Callable[..., None],
    spec: ModelSpec,
    kernel: Any,
    top1: float,
) -> None:
    forward = saved_models.features if spec.task == "embed" else saved_models.probabilities
    model = save(forward)
    other_ir(forward, kernel=kernel)
    made = stage(model, to, spec)
    assert made.checks["f32"]["top1"] == top1
    assert tensorflow_only(made, to, caplog) == (
        f"birds will run with TensorFlow only: OpenVINO disagrees with it, {made.checks['f32']}"
    )


@pytest.mark.parametrize(
    ("spec", "changes", "agree"),
    [
        (CLASSIFIER, {}, True),
        (CLASSIFIER, {"top1": 0.75}, False),
        (EMBEDDER, {"top1": 0.75}, True),  # Rounding can decide between two almost equal numbers of a vector.
        (EMBEDDER, {"largest_difference": 2e-4}, False),
        (EMBEDDER, {"least_cosine": 0.9999}, False),
    ],
)
def test_what_agrees(spec: ModelSpec, changes: dict[str, float], agree: bool) -> None:
    found = {"largest_difference": 1e-6, "top1": 1.0, "least_cosine": 0.999999} | changes
    assert staging._agrees(found, spec) == agree


# --- where another bundle is ----------------------------------------------------------------------------------------


def test_the_same_weights_with_another_preprocessing_are_not_put_over(save: Save, to: Path) -> None:
    model = save()
    made = stage(model, to)
    before = saved_models.contents(to)
    with pytest.raises(ModelError, match=f"{to} holds another bundle, birds {made.content_hash[:16]}…; "):
        stage(model, to, replace(CLASSIFIER, value_range=(0.0, 255.0)))
    assert saved_models.contents(to) == before


def test_another_bundle_is_not_put_over(save: Save, to: Path, bucket: Bucket) -> None:
    model = save()
    made = stage(model, to)
    before = saved_models.contents(to)
    stage(model, bucket.uri("birds"))
    other = save(width=5, kernel=saved_models.weights(5) + 1)
    for place in (str(to), bucket.uri("birds")):
        with pytest.raises(ModelError) as caught:
            stage(other, place)
        assert str(caught.value) == (
            f"{place} holds another bundle, birds {made.content_hash[:16]}…; "
            "choose another folder, or remove that bundle"
        )
    assert saved_models.contents(to) == before


def test_the_same_bundle_may_be_put_again(save: Save, to: Path) -> None:
    model = save()
    assert stage(model, to) == stage(model, to)


@pytest.mark.parametrize("text", ["", "{", '{"format": 0}'])
def test_a_damaged_bundle_is_put_over(save: Save, to: Path, text: str) -> None:
    model = save()
    made = stage(model, to)
    (to / "model.json").write_text(text)
    assert stage(model, to) == made == bundle.read(str(to))


def test_a_place_that_cannot_be_looked_into_is_not_written_to(
    save: Save, bucket: Bucket, quick_retries: object
) -> None:
    stage(save(), bucket.uri("birds"))
    before = {name: bucket.get(name) for name in bucket.names()}
    bucket.gcs.faults = lambda method, path: 503 if method == "GET" else None
    with pytest.raises(FetchError):
        stage(save(kernel=saved_models.weights(5) + 1), bucket.uri("birds"))
    assert {name: bucket.get(name) for name in bucket.names()} == before


# --- models by name -------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def publish(hub: HubServer, model: Path, name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> str:
    """Publish ``model`` on the test hub as the registered model of this name, and return its URL."""
    url = hub.put("/efficientnet/b0/any/1", Answer(saved_models.archive(model)))
    spec = dataclasses.replace(registry.get(name, task), source=url)
    others = [other for other in registry.MODELS if (other.name, other.task) != (name, task)]
    monkeypatch.setattr(registry, "MODELS", (spec, *others))
    return url


@pytest.mark.parametrize(("task", "width"), [("classify", 1000), ("embed", 1280)])
def test_a_registered_model_is_staged_once(
    save: Save, hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch, task: Task, width: int
) -> None:
    forward = saved_models.probabilities if task == "classify" else saved_models.features
    url = publish(hub, save(forward, width=width), "efficientnet-b0", task, monkeypatch)
    for _ in range(2):
        folder = staging.stage_registered("efficientnet-b0", task)
        assert folder == str(cache / f"efficientnet-b0-{task}")
    made = bundle.read(folder)
    assert made.spec == registry.get("efficientnet-b0", task)
    assert made.source == url
    assert len(hub.requests) == 1


def test_staging_reports_its_steps(
    save: Save, hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = publish(hub, save(width=1000), "efficientnet-b0", "classify", monkeypatch)
    lines: list[str] = []
    folder = staging.stage_registered("efficientnet-b0", "classify", report=lines.append)
    steps = [
        "checking efficientnet-b0 on 4 drawn images",
        "converting efficientnet-b0 to OpenVINO",
        "comparing OpenVINO with TensorFlow on 4 drawn images",
        f"writing the bundle to {folder}",
    ]
    assert lines == [f"downloading efficientnet-b0 (about 21 MB) from {url}", *steps]

    lines.clear()
    staging.stage_registered("efficientnet-b0", "classify", report=lines.append)
    assert lines == [], "it is staged already"

    staging.stage(url, registry.get("efficientnet-b0", "classify"), folder, report=lines.append)
    (cached,) = (path for path in (tmp_path / "hub").iterdir() if path.is_dir())
    assert lines == [f"using the download in {cached}", *steps]


@pytest.mark.parametrize(
    ("kind", "line"),
    [("folder", None), ("gs folder", "copying"), ("archive", "unpacking"), ("gs archive", "unpacking")],
)
def test_staging_reports_what_it_reads(
    save: Save, to: Path, bucket: Bucket, hub: HubServer, kind: str, line: str | None
) -> None:
    lines: list[str] = []
    source = sources(save(), bucket, hub)[kind]
    stage(source, to, report=lines.append)
    assert lines[0] == (f"{line} {source}" if line else "checking birds on 4 drawn images")


def test_a_registered_model_that_is_not_what_it_should_be(
    save: Save, hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, save(width=1001), "efficientnet-b0", "classify", monkeypatch)
    with pytest.raises(ModelError, match="gives 1001 numbers an image where efficientnet-b0 gives 1000; wrong model"):
        staging.stage_registered("efficientnet-b0", "classify")
    assert not (cache / "efficientnet-b0-classify").exists()


def test_a_registered_model_that_is_published_nowhere(cache: Path) -> None:
    with pytest.raises(ModelError, match="efficientnet-b7_auto_aug has no download; stage your own files"):
        staging.stage_registered("efficientnet-b7_auto_aug", "classify")


def test_a_name_that_is_not_registered(cache: Path) -> None:
    with pytest.raises(UsageError, match="'efficientnet-b9' is not a registered model for task embed"):
        staging.stage_registered("efficientnet-b9", "embed")
