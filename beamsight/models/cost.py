"""Count the parameters and operations of a SavedModel in its graph, without reading its weights."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from transforms.errors import ModelError
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec

_KERNELS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
_OPERATIONS_AN_ELEMENT = {"Add": 1, "AddV2": 1, "BiasAdd": 1, "FusedBatchNormV3": 2, "Mul": 1, "Sigmoid": 1}


def parameters(model_dir: str | Path) -> int:
    """Return the number of parameters of a SavedModel, as ``parameters_of`` counts them. Raises ModelError."""
    return parameters_of(_graph(Path(model_dir), None))


def flops(model_dir: str | Path, spec: ModelSpec) -> int:
    """Return the operations of a SavedModel for one image of the spec's size, as ``flops_of`` counts them.

    Raises:
        ModelError: The folder holds no SavedModel with one signature, or its shapes do not follow from the input's.
    """
    return flops_of(_graph(Path(model_dir), spec.size))


def parameters_of(graph: Any) -> int:
    """Return the number of parameters in a ``tf.Graph`` without function calls, as papers count them.

    Each kernel counts, and one bias for each of its output channels. The scale of a batch norm does not count, because
    it is multiplied into the kernel before the network is used. The offset of a batch norm is the bias.
    """
    return sum(_defined(op.inputs[1]).num_elements() + op.outputs[0].shape[-1] for op in _ops(graph, _KERNELS))


def flops_of(graph: Any) -> int:
    """Return the floating-point operations of a ``tf.Graph`` without function calls, whose input is one image.

    A multiply-add is two operations, and a batch norm is two for each element. Sums, products and sigmoids are one for
    each element (activations, gates and residuals: 2 % in an EfficientNet). Pooling and arithmetic with a single number
    do not count.
    """
    total = 0
    for op in _ops(graph, _KERNELS):
        kernel, output = _defined(op.inputs[1]), _defined(op.outputs[0])
        total += 2 * kernel.num_elements() // output[-1] * output.num_elements()
    for op in _ops(graph, _OPERATIONS_AN_ELEMENT):
        if all(operand.shape.rank != 0 for operand in op.inputs):
            total += _OPERATIONS_AN_ELEMENT[op.type] * _defined(op.outputs[0]).num_elements()
    return total


def _ops(graph: Any, types: Container[str]) -> list[Any]:
    return [op for op in graph.get_operations() if op.type in types]


def _defined(tensor: Any) -> Any:
    if not tensor.shape.is_fully_defined():
        raise ModelError(f"{tensor.name} has shape {tensor.shape}: only fixed shapes can be counted")
    return tensor.shape


def _graph(folder: Path, size: int | None) -> Any:
    """Return the ``tf.Graph`` of the signature ``serving_default`` for one square image, with function calls inlined.

    The graph holds the shapes of variables. Their values, nearly all of a SavedModel's bytes, are not read.
    """
    tf = tensorflow()
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer
    from tensorflow.python.saved_model import loader_impl

    try:
        saved = loader_impl.parse_saved_model(str(folder))
    except OSError as error:
        raise ModelError(f"{folder} is not a SavedModel: {error}") from error
    signatures = [meta.signature_def.get("serving_default") for meta in saved.meta_graphs]
    if len(signatures) != 1 or signatures[0] is None or len(signatures[0].inputs) != 1:
        raise ModelError(f"{folder} must have one signature 'serving_default' with one input to be counted")

    definition = saved.meta_graphs[0].graph_def
    (images,) = (tensor.name for tensor in signatures[0].inputs.values())
    outputs = [tensor.name for tensor in signatures[0].outputs.values()]
    for node in definition.node:
        if f"{node.name}:0" == images:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape([1, size, size, 3]).as_proto())

    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers.append("function")
    config.graph_options.rewrite_options.min_graph_nodes = -1  # Small graphs are inlined too.
    kept = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    kept.collection_def["train_op"].node_list.value.extend(outputs)  # The optimizer keeps these.
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf_optimizer.OptimizeGraph(config, kept), name="")
    return graph
