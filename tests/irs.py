"""OpenVINO IRs for tests: tiny, built for real, as whoever exported them would have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.inference.libraries import openvino, tensorflow
from transforms.inference.spec import ModelSpec

Floats = npt.NDArray[np.float32]

# As the Open Model Zoo's efficientnet-b7_auto_aug calls them.
INPUT = "sub/placeholder_port_0"
OUTPUT = "efficientnet-b7/model/head/dense/MatMul"

GRID = 3  # fields a side whose mean colours are weighed
VALUES = GRID * GRID * 3


def weights(width: int) -> Floats:
    """float32[VALUES, width]."""
    return np.random.RandomState(width).normal(size=(VALUES, width)).astype(np.float32)


def save(
    path: Path,
    spec: ModelSpec,
    *,
    batch: int = 1,
    side: int | None = None,
    dtype: npt.DTypeLike = np.float32,
    widths: Sequence[int] = (),
    also_pooled: bool = False,
    axes: Sequence[int] = (0, -1),
    output_dtype: str = "f32",
) -> Path:
    """Write an IR that takes what ``spec`` says, and weighs the mean colours of its fields -> its ``.xml``.

    batch, side: -1 for any. widths: of its outputs, default the one of the spec. also_pooled: one more, of rank 4.
    axes: the shape of the outputs, with 0 for the batch and -1 for the width. output_dtype: of all that is computed.
    """
    ops = openvino().opset13
    side = spec.size if side is None else side
    shape = [batch, side, side, 3] if spec.layout == "nhwc" else [batch, 3, side, side]
    images = ops.parameter(shape, dtype)
    values = ops.convert(images, output_dtype)
    if spec.layout == "nhwc":
        values = ops.transpose(values, [0, 3, 1, 2])
    field = [spec.size // GRID] * 2
    pooled = ops.avg_pool(values, field, [0, 0], [0, 0], field, True)
    flat = ops.reshape(pooled, [0, -1], True)
    kernels = [ops.convert(ops.constant(weights(width)), output_dtype) for width in widths or [spec.width]]
    outputs = [ops.reshape(ops.matmul(flat, kernel, False, False), axes, True) for kernel in kernels]
    return write(path, images, [*outputs, *[pooled] * also_pooled])


def expected(pixels: npt.NDArray[np.uint8], spec: ModelSpec) -> Floats:
    """What ``save``'s network gives, worked out with NumPy: uint8[N, size, size, 3] RGB -> float32[N, width]."""
    low, high = spec.value_range
    values = low + pixels.astype(np.float64) / 255 * (high - low)
    if spec.channel_order == "bgr":
        values = values[..., ::-1]
    field = spec.size // GRID
    means = values.reshape(-1, GRID, field, GRID, field, 3).mean(axis=(2, 4))
    return (means.transpose(0, 3, 1, 2).reshape(-1, VALUES) @ weights(spec.width)).astype(np.float32)


def sometimes(path: Path, width: int, way: str) -> Path:
    """An IR of 8 x 8 pictures, 0..255, that fails in its middle for one with a white pixel in it.

    way: ``refuse`` has shapes that do not fit, ``allocate`` asks for 4 TB.
    """
    ops = openvino().opset13
    images = ops.parameter([1, 8, 8, 3], np.float32)
    kernel = np.random.RandomState(width).normal(size=(3, width)).astype(np.float32)
    weighed = ops.matmul(ops.reduce_mean(images, [1, 2], False), kernel, False, False)
    largest = ops.reduce_max(images, [0, 1, 2, 3], False)
    white = ops.reshape(ops.convert(ops.greater(largest, np.float32(254)), "i64"), [1], False)
    if way == "refuse":
        shape = ops.concat([np.array([1], np.int64), ops.add(white, np.int64(width))], 0)
        return write(path, images, [ops.reshape(weighed, shape, False)])
    side = ops.add(ops.multiply(white, np.int64(2**20)), np.int64(1))
    wide = ops.broadcast(ops.reshape(largest, [1, 1], False), ops.concat([side, side], 0))
    return write(path, images, [ops.add(weighed, ops.reduce_sum(wide, [0, 1], False))])


def exported(path: Path, folder: Path, spec: ModelSpec) -> Path:
    """A SavedModel of RGB in 0..1 as an IR that takes what ``spec`` says, by another way than ours."""
    tf, ov = tensorflow(), openvino()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.saved_model.load(str(folder))
    low, high = spec.value_range

    def forward(values: Any) -> Any:
        if spec.layout == "nchw":
            values = tf.transpose(values, [0, 2, 3, 1])
        values = (values - low) / (high - low)
        if spec.channel_order == "bgr":
            values = tf.reverse(values, [-1])
        (outputs,) = model.signatures["serving_default"](image_input=values).values()
        return outputs

    shape = [1, spec.size, spec.size, 3] if spec.layout == "nhwc" else [1, 3, spec.size, spec.size]
    function = tf.function(forward, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    graph = convert_variables_to_constants_v2(function.get_concrete_function()).graph
    frozen = path.with_suffix(".pb")
    frozen.parent.mkdir(parents=True, exist_ok=True)
    frozen.write_bytes(graph.as_graph_def().SerializeToString())
    converted = ov.convert_model(frozen)
    (images,) = converted.get_parameters()
    return write(path, images, [converted.output(0).get_node().input_value(0)])


def write(path: Path, images: Any, outputs: Sequence[Any]) -> Path:
    """Save a graph, with the Zoo's names."""
    ov = openvino()
    model = ov.Model([ov.opset13.result(output) for output in outputs], [images], "net")
    images.set_friendly_name(INPUT)
    images.output(0).set_names({INPUT})
    model.output(0).set_names({OUTPUT})
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=False)
    return path
