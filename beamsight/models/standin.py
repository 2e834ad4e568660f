"""ModelSpec -> a SavedModel of the right shape with drawn weights, for where the published weights cannot be had.

A stand-in has the architecture, the calling contract and the cost of the published module, so that a job can be tried,
tested and timed. Its answers differ from picture to picture and mean nothing.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamsight.models import registry
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec

# As the publisher's ``preprocessing.py`` has it, for RGB in 0..1.
_MEAN = (0.485, 0.456, 0.406)
_STDDEV = (0.229, 0.224, 0.225)

INPUT = "image_input"
OUTPUTS = {"classify": "probs", "embed": "top_pool"}

# Statistics of this many pictures of this size hold at every model's own size, at a tenth of the time and memory.
_CALIBRATION_PICTURES = 16
_CALIBRATION_SIZE = 224
# Branches weaker than what they join, as training leaves them. At full strength B7's 55 blocks multiply contrast: the
# features of pictures differ a thousandfold in length, and half a grey level decides which class is the best.
_RESIDUAL_SCALE = 0.1
_GATE_SCALE = 0.1
# Of the logits: the best of 1,000 classes then mostly scores 0.05 to 0.9.
_LOGIT_STDDEV = 3.0


def write_standin(spec: ModelSpec, to: str | Path, *, seed: int = 0) -> None:
    """Write a stand-in for ``spec`` into the folder ``to``, which appears whole or not at all.

    The SavedModel is called as the modules of TF-Hub are, directly or by its signature ``serving_default``:
    ``image_input``, float32 [N, H, W, 3], RGB in 0..1, any H and W, becomes ``probs``, float32 [N, classes], rows
    that sum to 1, or ``top_pool``, float32 [N, width]. The same ``seed`` gives the same weights.

    Raises UsageError for a spec that is no EfficientNet in this form, and for a folder that is not empty.
    """
    to = Path(to)
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UsageError(f"{to} is there already: remove it, or name another folder for the stand-in")
    network = build(spec)
    _draw_weights(network, np.random.default_rng(seed))
    _calibrate(network, seed)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as beside:
        _save(network, OUTPUTS[spec.task], Path(beside, "model"))
        Path(beside, "model").replace(to)


def build(spec: ModelSpec) -> Any:
    """The network of ``spec`` with Keras's initial weights: float32 [N, H, W, 3] in 0..1 -> float32 [N, width].

    Keras's own network, with three things as the published modules have them: it takes 0..1, it pads alike for any
    input size, and it holds nothing that only training needs. Every layer has a name of its own, so nothing depends
    on what this process built before.
    """
    _check(spec)
    tensorflow()  # before Keras would import it, with all its notes
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"Keras runs on {keras.backend.backend()} here; unset KERAS_BACKEND to write a SavedModel")
    variant = spec.name.removeprefix("efficientnet-").upper()
    published = getattr(keras.applications, f"EfficientNet{variant}")(
        include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg", name=spec.name
    )

    def as_published(layer: Any) -> Any:
        config = layer.get_config()
        match layer:
            case keras.layers.Rescaling():
                shift = [-mean / stddev for mean, stddev in zip(_MEAN, _STDDEV, strict=True)]
                return keras.layers.Rescaling([1 / stddev for stddev in _STDDEV], shift, name="normalize")
            case keras.layers.Normalization() | keras.layers.ZeroPadding2D() | keras.layers.Dropout():
                return keras.layers.Identity(name=layer.name)
            case keras.layers.DepthwiseConv2D() | keras.layers.Conv2D():
                config["padding"] = "same"
            case keras.layers.BatchNormalization():
                config["momentum"] = 0.0  # one pass in training mode sets the statistics
        return type(layer).from_config(config)

    network = keras.models.clone_model(published, clone_function=as_published)
    if spec.task == "embed":
        return network
    head = keras.layers.Dense(spec.width, activation="softmax", name="predictions")
    return keras.Model(network.input, head(network.output), name=spec.name)


def _check(spec: ModelSpec) -> None:
    known = registry.find(spec.name, spec.task)
    if known is not None and known.source is None:
        raise UsageError(
            f"{spec.name} was published as OpenVINO IR and never as a SavedModel, which is what a stand-in is; "
            f"make one for {spec.name.partition('_')[0]}, which has the same architecture"
        )
    if known is None or (spec.task == "embed" and spec.width != known.width):
        names = ", ".join(model.name for model in registry.MODELS if model.source and model.task == spec.task)
        raise UsageError(f"no stand-in for {spec.name!r} to {spec.task}, {spec.width} wide; there are {names}")


def _draw_weights(network: Any, random: np.random.Generator) -> None:
    """Kernels after He et al., https://arxiv.org/abs/1502.01852; biases stay zero, scales one but on residuals."""
    import keras

    for layer in network.layers:
        match layer:
            case keras.layers.DepthwiseConv2D():
                _draw_kernel(layer, math.prod(layer.kernel.shape[:2]), random)  # each channel for itself
            case keras.layers.Conv2D() | keras.layers.Dense():
                scale = _GATE_SCALE if "_se_" in layer.name else 1.0
                _draw_kernel(layer, math.prod(layer.kernel.shape[:-1]), random, scale)
            case keras.layers.Add():
                branch = network.get_layer(layer.name.replace("add", "project_bn"))
                branch.gamma.assign(np.full(branch.gamma.shape, _RESIDUAL_SCALE, np.float32))


def _draw_kernel(layer: Any, inputs: int, random: np.random.Generator, scale: float = 1.0) -> None:
    kernel = random.standard_normal(layer.kernel.shape, np.float32)
    layer.kernel.assign(kernel * np.float32(scale * math.sqrt(2 / inputs)))


def _calibrate(network: Any, seed: int) -> None:
    """Set the statistics of the batch norms, and the scale of the head, from drawn pictures."""
    import keras

    tf = tensorflow()
    pooled = keras.Model(network.input, network.get_layer("avg_pool").output)
    # A graph frees each activation after its last use; Keras's eager loop would hold them all.
    features = tf.function(lambda images: pooled(images, training=True))(_pictures(seed)).numpy()
    head = network.layers[-1]
    if isinstance(head, keras.layers.Dense):
        # Centred: the features of any two pictures point much the same way, and one class would always be the best.
        centre = features.mean(axis=0)
        length = np.linalg.norm(features - centre, axis=1).mean()
        kernel = head.kernel.numpy()
        kernel *= _LOGIT_STDDEV / (length * kernel.std())
        head.kernel.assign(kernel)
        head.bias.assign(-centre @ kernel)


def _pictures(seed: int) -> npt.NDArray[np.float32]:
    """Drawn pictures to calibrate with, float32 [N, side, side, 3] in 0..1."""
    side = _CALIBRATION_SIZE
    pictures = [drawn.draw(seed + index, side, side) for index in range(_CALIBRATION_PICTURES)]
    return np.stack(pictures).astype(np.float32) / np.float32(255)


def _save(network: Any, output: str, to: Path) -> None:
    tf = tensorflow()
    images = tf.TensorSpec([None, None, None, 3], tf.float32, name=INPUT)
    module = tf.Module()
    # The bare variables: Keras's own objects would bring their training graphs along.
    module.weights = [weight.value for weight in network.weights]
    module.__call__ = tf.function(lambda image_input: network(image_input, training=False), [images])
    serve = tf.function(lambda image_input: {output: module.__call__(image_input)}, [images])
    tf.saved_model.save(module, str(to), signatures=serve)
