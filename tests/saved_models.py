"""SavedModels for tests: tiny, exported for real, each with the one trait that a test is about."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.inference.libraries import tensorflow

Floats = npt.NDArray[np.float32]
Forward = Callable[[Any, Any], Any]  # images, weights -> outputs, TensorFlow's tensors all

SIZE = 8  # side of the pictures, where nothing else is said
SHARD = "variables/variables.data-00000-of-00001"


def weights(width: int) -> Floats:
    """float32[3, width]: of each colour, for each output."""
    return np.random.RandomState(width).normal(size=(3, width)).astype(np.float32)


def features(images: Any, kernel: Any) -> Any:
    """Mean colour, weighed: float32[N, H, W, 3] -> float32[N, width]."""
    tf = tensorflow()
    return tf.matmul(tf.reduce_mean(images, axis=[1, 2]), kernel)


def logits(images: Any, kernel: Any) -> Any:
    return features(images, kernel) * 8  # apart enough to be told from probabilities


def probabilities(images: Any, kernel: Any) -> Any:
    return tensorflow().nn.softmax(features(images, kernel))


def save(
    folder: Path,
    forward: Forward = probabilities,
    *,
    width: int = 5,
    kernel: Floats | None = None,
    ways: Sequence[str] = ("serving_default",),
    side: int | None = None,
    dtype: str = "float32",
) -> Path:
    """Export ``forward`` -> its folder.

    ways: names of signatures, and ``__call__`` for a model that can be called. side, dtype: of the input; any side is
    taken where there is none.
    """
    tf = tensorflow()
    module = tf.Module()
    module.kernel = tf.Variable(weights(width) if kernel is None else kernel)
    images = tf.TensorSpec([None, side, side, 3], dtype, name="image_input")
    function = tf.function(
        lambda image_input: forward(image_input, module.kernel), input_signature=[images], autograph=False
    )
    module.function = function
    if "__call__" in ways:
        module.__call__ = function
    tf.saved_model.save(module, str(folder), signatures={way: function for way in ways if way != "__call__"})
    return folder


def expected(pixels: npt.NDArray[np.uint8], kernel: Floats, low: float = 0.0, high: float = 1.0) -> Floats:
    """What ``features`` gives, worked out with NumPy: uint8[N, H, W, 3] -> float32[N, width]."""
    values = low + pixels.astype(np.float64) / 255 * (high - low)
    return (values.mean(axis=(1, 2)) @ kernel).astype(np.float32)


def archive(folder: Path, top: str = ".") -> bytes:
    """A folder -> its .tar.gz, all of it below the folder ``top``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, top)
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
