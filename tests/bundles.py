"""Bundles for tests: tiny models that the tests make, and the small trained one where it can be had."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_photos import changed

from beamsight.models import quantization, staging
from transforms.imaging import drawn
from transforms.inference.spec import ModelSpec

TINY_LABELS = ("dark", "red", "green", "blue", "light")


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle: 5 classes by the mean colour of a 16 x 16 picture, softmax done."""
    spec = ModelSpec(name="tiny", task="classify", size=16, width=5, output="probabilities")
    to = str(tmp_path_factory.mktemp("tiny-classifier") / "bundle")
    saved = _saved(tmp_path_factory.mktemp("tiny") / "classifier", 5, "probs", lambda tf, values: tf.nn.softmax(values))
    staging.stage(saved, spec, to, labels_text="\n".join(TINY_LABELS))
    return to


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle: vectors of 8 from the mean colour of a 16 x 16 picture."""
    spec = ModelSpec(name="tiny", task="embed", size=16, width=8, output="features")
    to = str(tmp_path_factory.mktemp("tiny-embedder") / "bundle")
    staging.stage(
        _saved(tmp_path_factory.mktemp("tiny") / "embedder", 8, "top_pool", lambda _, values: values), spec, to
    )
    return to


def _saved(folder: Path, width: int, key: str, head: Callable[[Any, Any], Any]) -> str:
    """A SavedModel: mean colour [N, 3] -> fixed weights [3, width] -> head."""
    from transforms.inference.libraries import tensorflow

    tf = tensorflow()
    module = tf.Module()
    module.weights = tf.Variable(np.random.RandomState(width).normal(size=(3, width)).astype(np.float32) * 4)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="image_input")])
    def forward(image_input: Any) -> Any:
        return {key: head(tf, tf.matmul(tf.reduce_mean(image_input, axis=[1, 2]), module.weights))}

    module.forward = forward
    tf.saved_model.save(module, str(folder), signatures={"serving_default": forward})
    return str(folder)


@pytest.fixture(scope="session")
def trained(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bundles of the small trained model: ``classification``, ``classification_logits``, ``feature_vector``."""
    made = {}
    for form, task in (
        ("classification", "classify"),
        ("classification_logits", "classify"),
        ("feature_vector", "embed"),
    ):
        source = shared_dir / "models" / "mobilenet_v1_025_224" / form
        to = tmp_path_factory.mktemp("trained") / form
        output = "features" if task == "embed" else "probabilities"
        staging.stage(
            str(source),
            ModelSpec(name=form, task=task, size=224, width=0, output=output),  # type: ignore[arg-type]
            str(to),
        )
        made[form] = str(to)
    return made


@pytest.fixture(scope="session")
def quantized(shared_dir: Path, trained: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Copies of two of them with an int8 form, calibrated on changes of the photos and on drawn pictures."""
    photos = changed(shared_dir / "photos", range(90), 224)
    pictures = np.concatenate([photos, [drawn.draw(seed, 224, 224) for seed in range(45)]])
    made = {}
    for form, agreement in (("classification", 0.85), ("feature_vector", 0.98)):  # no class is that of a drawn picture
        to = tmp_path_factory.mktemp("quantized") / form
        shutil.copytree(trained[form], to)
        quantization.quantize(str(to), pictures, agreement, methods=(quantization.CAREFUL,))
        made[form] = str(to)
    return made
