from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standins import Standin

from beamsight.models import registry
from beamsight.models import standin as architecture
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import Task

B0 = "efficientnet-b0"
TASKS: tuple[Task, ...] = ("classify", "embed")
OUTPUTS = {"classify": ("probs", 1000), "embed": ("top_pool", 1280)}


def draw_images(number: int, side: int = 224) -> np.ndarray[Any, Any]:
    """Return images that did not calibrate the stand-in, float32 [N, side, side, 3] in 0..1."""
    return np.stack([drawn.draw(1000 + seed, side, side) for seed in range(number)]).astype(np.float32) / 255


@cache
def load(folder: Path) -> Any:
    return tensorflow().saved_model.load(str(folder))


@pytest.mark.parametrize("task", TASKS)
def test_has_the_signature_of_the_published_modules(standin: Standin, task: Task) -> None:
    model = load(standin(B0, task))
    serve = model.signatures["serving_default"]
    key, width = OUTPUTS[task]

    assert list(model.signatures) == ["serving_default"]
    assert serve.structured_input_signature == (
        (),
        {"image_input": tensorflow().TensorSpec([None, None, None, 3], "float32", name="image_input")},
    )
    assert {name: (spec.shape.as_list(), spec.dtype.name) for name, spec in serve.structured_outputs.items()} == {
        key: ([None, width], "float32")
    }


@pytest.mark.parametrize("task", TASKS)
def test_answers_alike_as_a_callable_and_by_its_signature(standin: Standin, task: Task) -> None:
    model = load(standin(B0, task))
    images = tensorflow().constant(draw_images(2))
    by_signature = model.signatures["serving_default"](image_input=images)[OUTPUTS[task][0]]
    np.testing.assert_allclose(model(images).numpy(), by_signature.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:pkg_resources")  # tensorflow-hub imports it
def test_loads_with_tensorflow_hub(standin: Standin) -> None:
    folder = standin(B0, "embed")
    tensorflow()
    import tensorflow_hub

    images = draw_images(2)
    answers = tensorflow_hub.load(str(folder))(images).numpy()
    np.testing.assert_allclose(answers, load(folder)(images).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 97, 131), (3, 32, 32)])
def test_accepts_images_of_any_number_and_size(standin: Standin, shape: tuple[int, int, int]) -> None:
    answers = load(standin(B0, "embed"))(np.zeros((*shape, 3), np.float32)).numpy()
    assert answers.shape == (shape[0], 1280)
    assert np.isfinite(answers).all()


def test_probabilities_are_neither_flat_nor_certain_and_differ_from_image_to_image(standin: Standin) -> None:
    probabilities = load(standin(B0, "classify"))(draw_images(24)).numpy()

    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    best = probabilities.max(axis=1)
    assert best.min() > 0.03
    assert 0.05 < np.median(best) < 0.5
    assert len(set(probabilities.argmax(axis=1))) >= 12


def test_features_are_finite_and_differ_from_image_to_image(standin: Standin) -> None:
    features = load(standin(B0, "embed"))(draw_images(24)).numpy()

    assert np.isfinite(features).all()
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = directions @ directions.T
    assert alike[~np.eye(len(alike), dtype=bool)].max() < 0.999


def test_an_output_depends_on_the_image_and_not_on_its_rounding(standin: Standin) -> None:
    model, images = load(standin(B0, "embed")), draw_images(8)
    rounding = np.random.default_rng(0).uniform(-0.5 / 255, 0.5 / 255, images.shape).astype(np.float32)
    features, rounded = model(images).numpy(), model(images + rounding).numpy()
    differences = np.linalg.norm(features - features.mean(axis=0), axis=1).mean()
    assert np.linalg.norm(features - rounded, axis=1).max() < 0.05 * differences


def test_a_seed_gives_the_same_weights(standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []

    def save(network: Any, output: str, to: Path) -> None:
        to.mkdir()
        saved.append((output, [weight.value for weight in network.weights]))

    monkeypatch.setattr(architecture, "_save", save)
    architecture.write_standin(registry.get(B0, "classify"), tmp_path / "same", seed=0)
    ((output, same),) = saved
    first = load(standin(B0, "classify")).weights
    assert output == "probs"
    assert [weight.name for weight in first] == [weight.name for weight in same]
    for one, two in zip(first, same, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-3, atol=1e-5, err_msg=one.name)


def test_saving_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tensorflow().constant(0)  # TensorFlow prints notes at its first operation.
    import keras

    capfd.readouterr()
    network = keras.Sequential([keras.layers.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()])
    architecture._save(network, "top_pool", tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_another_seed_gives_other_weights_and_another_calibration(
    standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[int] = []

    def save(network: Any, output: str, to: Path) -> None:
        to.mkdir()
        kernels = [weight.numpy() for weight in network.weights if weight.path.endswith("kernel")]
        published = [weight.numpy() for weight in load(standin(B0, "embed")).weights if "kernel" in weight.name]
        assert len(kernels) == len(published) > 50
        assert not any(np.allclose(one, two, atol=0.01) for one, two in zip(kernels, published, strict=True))

    monkeypatch.setattr(architecture, "_calibrate", lambda network, seed: calibrated.append(seed))
    monkeypatch.setattr(architecture, "_save", save)
    architecture.write_standin(registry.get(B0, "embed"), tmp_path / "other", seed=1)
    assert calibrated == [1]


def test_is_keras_s_network_but_for_its_input(standin: Standin) -> None:
    """The image side halves five times without remainder; there Keras pads as the published modules do."""
    ours = load(standin(B0, "embed"))
    import keras

    theirs = keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg")
    normalization = theirs.layers[2]
    normalization.mean = np.array([0.485, 0.456, 0.406], np.float32)
    normalization.variance = np.array([0.229, 0.224, 0.225], np.float32) ** 2
    theirs.set_weights([*normalization.get_weights(), *(weight.numpy() for weight in ours.weights)])

    images = draw_images(4)
    np.testing.assert_allclose(ours(images).numpy(), theirs(images * 255).numpy(), rtol=1e-3, atol=1e-4)


def test_another_number_of_classes() -> None:
    assert architecture.build(replace(registry.get(B0, "classify"), width=10)).output_shape == (None, 10)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (registry.get("efficientnet-b7_auto_aug", "classify"), "OpenVINO IR.* make a stand-in for efficientnet-b7,"),
        (replace(registry.get(B0, "embed"), width=7), "width 7; choose from efficientnet-b0, efficientnet-b1"),
        (replace(registry.get(B0, "embed"), name="resnet50"), "no stand-in for 'resnet50', task embed"),
    ],
)
def test_refuses_what_is_no_efficientnet(spec: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        architecture.write_standin(spec, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        architecture.write_standin(registry.get(B0, "embed"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_leaves_nothing_when_it_is_stopped_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(network: Any, output: str, to: Path) -> None:
        to.mkdir()
        (to / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(architecture, "_calibrate", lambda network, seed: None)
    monkeypatch.setattr(architecture, "_save", stopped)
    with pytest.raises(KeyboardInterrupt):
        architecture.write_standin(registry.get(B0, "embed"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_importing_it_imports_no_tensorflow() -> None:
    code = "import sys, beamsight.models.standin, beamsight.models.cost; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
