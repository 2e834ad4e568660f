"""Write stand-ins: SavedModels with the architecture of a published module and random weights.

A stand-in is called like the published module and costs the same, so a job can be tried, tested and timed without the
published weights. Its outputs differ from image to image and mean nothing.
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

# From the publisher's ``preprocessing.py``, for RGB in 0..1.
_MEAN = (0.485, 0.456, 0.406)
_STDDEV = (0.229, 0.224, 0.225)

INPUT = "image_input"
OUTPUTS = {"classify": "probs", "embed": "top_pool"}

# Statistics of images of this size also hold at every model's own size, and take a tenth of the time and memory.
_CALIBRATION_IMAGES = 16
_CALIBRATION_SIZE = 224
# Residual branches are weaker than the path that they join, as after training. At full strength, the 55 blocks of B7
# multiply contrast: the lengths of features differ by a factor of 1000, and half a grey level changes the best class.
_RESIDUAL_SCALE = 0.1
_GATE_SCALE = 0.1
# With this standard deviation of the logits, the best of 1,000 classes mostly scores 0.05 to 0.9.
_LOGIT_STDDEV = 3.0


def write_standin(spec: ModelSpec, to: str | Path, *, seed: int = 0) -> None:
    """Write a stand-in for ``spec`` into the folder ``to``. The folder is renamed into place when it is complete.

    The SavedModel is called like the modules of TF-Hub, directly or by its signature ``serving_default``. The input
    ``image_input`` is float32 [N, H, W, 3], RGB in 0..1, with any H and W. The output of a classifier is ``probs``,
    float32 [N, classes], rows that sum to 1. The output of an embedder is ``top_pool``, float32 [N, width].

    Args:
        spec: A registered EfficientNet that is published as a SavedModel.
        to: Folder that does not exist yet or is empty.
        seed: The same seed gives the same weights.

    Raises:
        UsageError: There is no stand-in for this spec, or the folder is not empty.
    """
    to = Path(to)
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UsageError(f"{to} exists already: remove it, or pass another folder for the stand-in")
    network = build(spec)
    _draw_weights(network, np.random.default_rng(seed))
    _calibrate(network, seed)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as beside:
        _save(network, OUTPUTS[spec.task], Path(beside, "model"))
        Path(beside, "model").replace(to)


def build(spec: ModelSpec) -> Any:
    """Return the network of ``spec`` with Keras's initial weights: float32 [N, H, W, 3] in 0..1 -> float32 [N, width].

    It is Keras's network with three changes, as in the published modules: it takes 0..1, it pads in the same way for
    any input size, and it has no layers that only training needs. Every layer has a fixed name, so the result does not
    depend on other networks that this process has built.
    """
    _check(spec)
    tensorflow()  # It is imported before Keras imports it, because Keras lets it print its notes.
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
                config["momentum"] = 0.0  # One pass in training mode then sets the statistics.
        return type(layer).from_config(config)

    network = keras.models.clone_model(published, clone_function=as_published)
    if spec.task == "embed":
        return network
    head = keras.layers.Dense(spec.width, activation="softmax", name="predictions")
    return keras.Model(network.input, head(network.output), name=spec.name)


def _check(spec: ModelSpec) -> None:
    registered = registry.find(spec.name, spec.task)
    if registered is not None and registered.source is None:
        raise UsageError(
            f"{spec.name} was published as an OpenVINO IR only, and a stand-in is a SavedModel; "
            f"make a stand-in for {spec.name.partition('_')[0]}, which has the same architecture"
        )
    if registered is None or (spec.task == "embed" and spec.width != registered.width):
        names = ", ".join(model.name for model in registry.MODELS if model.source and model.task == spec.task)
        raise UsageError(f"no stand-in for {spec.name!r}, task {spec.task}, width {spec.width}; choose from {names}")


def _draw_weights(network: Any, random: np.random.Generator) -> None:
    """Set random kernels after He et al., https://arxiv.org/abs/1502.01852, and weaken the residual branches."""
    import keras

    for layer in network.layers:
        match layer:
            case keras.layers.DepthwiseConv2D():
                _draw_kernel(layer, math.prod(layer.kernel.shape[:2]), random)  # Each channel has its own kernel.
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
    """Set the statistics of the batch norms, and the scale of the head, from drawn images."""
    import keras

    tf = tensorflow()
    pooled = keras.Model(network.input, network.get_layer("avg_pool").output)
    # A graph frees each activation after its last use. Keras's eager loop keeps all of them.
    features = tf.function(lambda images: pooled(images, training=True))(_images(seed)).numpy()
    head = network.layers[-1]
    if isinstance(head, keras.layers.Dense):
        # The features are centred, because all of them point in similar directions and one class would always be best.
        centre = features.mean(axis=0)
        length = np.linalg.norm(features - centre, axis=1).mean()
        kernel = head.kernel.numpy()
        kernel *= _LOGIT_STDDEV / (length * kernel.std())
        head.kernel.assign(kernel)
        head.bias.assign(-centre @ kernel)


def _images(seed: int) -> npt.NDArray[np.float32]:
    """Return drawn images for the calibration, float32 [N, side, side, 3] in 0..1."""
    side = _CALIBRATION_SIZE
    images = [drawn.draw(seed + index, side, side) for index in range(_CALIBRATION_IMAGES)]
    return np.stack(images).astype(np.float32) / np.float32(255)


def _save(network: Any, output: str, to: Path) -> None:
    tf = tensorflow()
    images = tf.TensorSpec([None, None, None, 3], tf.float32, name=INPUT)
    module = tf.Module()
    # Only the variables are saved, because Keras's own objects would also save their training graphs.
    module.weights = [weight.value for weight in network.weights]
    module.__call__ = tf.function(lambda image_input: network(image_input, training=False), [images])
    serve = tf.function(lambda image_input: {output: module.__call__(image_input)}, [images])
    tf.saved_model.save(module, str(to), signatures=serve)
