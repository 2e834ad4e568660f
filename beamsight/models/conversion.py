"""Convert a SavedModel or an IR to an IR that takes uint8 RGB images, one at a time, at the spec's size."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from transforms import vector_math
from transforms.errors import ModelError
from transforms.inference.engine import Floats
from transforms.inference.libraries import core, openvino
from transforms.inference.spec import Layout, ModelSpec


def from_saved_model(folder: Path, spec: ModelSpec, to: Path) -> None:
    """Write a SavedModel as an f32 IR: ``to`` and its ``.bin``.

    The variables are frozen into constants first, because OpenVINO cannot read the variables of every SavedModel. The
    frozen graph goes through a file, because OpenVINO cannot convert a graph in memory on Python 3.13.

    Raises:
        ModelError: The model cannot be converted.
    """
    from transforms.inference import openvino_engine, saved_model

    ov = openvino()
    tf = saved_model.tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = saved_model.SavedModel(folder, spec)
    shape = [1, spec.size, spec.size, 3]
    function = tf.function(model, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    frozen = to.with_suffix(".pb")
    frozen.parent.mkdir(parents=True, exist_ok=True)
    try:
        graph = convert_variables_to_constants_v2(function.get_concrete_function()).graph
        frozen.write_bytes(graph.as_graph_def().SerializeToString())
        with _keep_logging():
            converted = ov.convert_model(frozen)
    except Exception as error:  # TensorFlow and OpenVINO raise errors of many types.
        raise ModelError(f"{folder} cannot be converted for OpenVINO: {openvino_engine.line(error)}") from error
    finally:
        frozen.unlink(missing_ok=True)
    _write(converted, spec, "NHWC", to)


@contextmanager
def _keep_logging() -> Iterator[None]:
    """Restore the root logger. ``convert_model`` silences it, and leaves it silent after a failure."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def from_ir(source: Path, spec: ModelSpec, to: Path) -> Layout:
    """Write a user's own IR as one that takes uint8 RGB images.

    The spec says which range and channel order the user's IR takes, and the layout of an input that fits both.

    Returns:
        The layout of the user's IR.

    Raises:
        ModelError: The IR cannot be read, does not take images of the spec's size, or has no output that fits.
    """
    from transforms.inference import openvino_engine

    ov = openvino()
    try:
        model = core().read_model(source)
    except RuntimeError as error:
        raise ModelError(f"{source} cannot be read as an IR: {openvino_engine.line(error)}") from error
    if len(model.inputs) != 1:
        raise ModelError(f"{source} takes {len(model.inputs)} inputs; it must take one batch of images")
    shapes: dict[Layout, list[int]] = {"nhwc": [1, spec.size, spec.size, 3], "nchw": [1, 3, spec.size, spec.size]}
    takes = model.input().partial_shape
    fitting = [layout for layout, shape in shapes.items() if takes.compatible(ov.PartialShape([-1, *shape[1:]]))]
    layout = fitting[0] if len(fitting) == 1 else spec.layout
    try:
        if not fitting:
            raise RuntimeError(f"it takes {takes}")  # Reshaping may work, but the model was made for another shape.
        model.reshape(shapes[layout])
        _write(model, spec, layout.upper(), to)
    except RuntimeError as error:
        raise ModelError(
            f"{source} does not take {shapes[layout]} ({openvino_engine.line(error)}); check --size"
        ) from error
    return layout


def _write(model: Any, spec: ModelSpec, layout: str, to: Path) -> None:
    """Add layout, channel order and scaling to the model, keep the one output that fits, and save it as f32."""
    ov = openvino()
    output = _one_output(model, spec)
    if not output.partial_shape.compatible(ov.PartialShape([1, -1])):
        wide = output.get_node().input_value(0)
        names, output = wide.names, ov.opset13.reshape(wide, [1, -1], False).output(0)
        wide.set_names(set())  # A name belongs to one output.
        output.set_names(names)
    model = ov.Model([output], model.get_parameters(), spec.name)

    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout(layout))
    low, high = spec.value_range
    scale = 255 / (high - low)
    chain = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if spec.channel_order == "bgr":
        chain = chain.reverse_channels()
    if low:
        chain = chain.mean(-low * scale)
    if scale != 1:
        chain.scale(scale)
    steps.output().tensor().set_element_type(ov.Type.f32)  # NumPy cannot read every type, such as bf16.
    model = steps.build()
    _number_layers(model)
    to.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, to, compress_to_fp16=False)


def _one_output(model: Any, spec: ModelSpec) -> Any:
    """Return the output with the numbers of an image: [1, width], or the same with more axes of length 1."""
    fitting = [output for output in model.outputs if _width(output) is not None]
    if len(fitting) > 1:
        fitting = [output for output in fitting if _width(output) in (spec.width, -1)] if spec.width else fitting
    if len(fitting) > 1:
        fitting = [output for output in fitting if output.partial_shape.compatible(openvino().PartialShape([1, -1]))]
    if len(fitting) != 1:
        shapes = ", ".join(str(output.partial_shape) for output in model.outputs)
        raise ModelError(f"{spec.name}: outputs are {shapes}; exactly one must be [1, {spec.width or 'width'}]")
    return fitting[0]


def _width(output: Any) -> int | None:
    """Return the numbers in an output for one image, -1 if not known. None if several axes are longer than 1."""
    if output.partial_shape.rank.is_dynamic:
        return -1
    axes = [-1 if axis.is_dynamic else axis.get_length() for axis in output.partial_shape]
    if len(axes) > 1 and axes[0] == -1:
        axes[0] = 1  # the batch
    longer = [axis for axis in axes if axis != 1]
    return None if len(longer) > 1 else longer[0] if longer else 1


def _number_layers(model: Any) -> None:
    """Number the layers by their position, so that the same model always gives the same file."""
    for place, layer in enumerate(model.get_ordered_ops()):
        name, numbered = re.subn(r"_\d+$", f"_{place}", layer.get_friendly_name())
        if numbered:
            layer.set_friendly_name(name)


def agreement(reference: Floats, outputs: Floats) -> dict[str, float]:
    """Return how far the outputs float32[N, D] of two engines for the same images agree.

    Returns:
        ``largest_difference``: of a number, relative to the largest number of the reference. ``top1``: the share of
        images whose largest number is at the same place. ``least_cosine``: between the two rows of an image, 0 for NaN.
    """
    difference = np.abs(reference.astype(np.float64) - outputs).max()
    return {
        "largest_difference": float(difference / max(float(np.abs(reference).max()), 1e-30)),
        "top1": vector_math.top1_agreement(reference, outputs),
        "least_cosine": float(np.nan_to_num(vector_math.cosines(reference, outputs)).min()),
    }
