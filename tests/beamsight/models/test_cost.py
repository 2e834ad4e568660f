from __future__ import annotations

from pathlib import Path

import efficientnet
import pytest
from standins import Standin

from beamsight.models import cost, registry
from beamsight.models import standin as architecture
from transforms.errors import ModelError
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec

# torchvision/models/efficientnet.py: ``num_params``, crop size, and ``_ops`` in billions of multiply-adds.
TORCHVISION = {
    0: (5_288_548, 224, 0.4),
    1: (7_794_184, 240, 0.7),
    2: (9_109_994, 288, 1.1),
    3: (12_233_232, 300, 1.8),
    4: (19_341_616, 380, 4.4),
    5: (30_389_784, 456, 10.3),
    6: (43_040_704, 528, 19.1),
    7: (66_347_960, 600, 37.7),
}


def counted(variant: int, size: int) -> efficientnet.Counts:
    """Count a classifier's network. Its weights are not set, which would take long."""
    tf, network = tensorflow(), architecture.build(registry.get(f"efficientnet-b{variant}", "classify"))
    call = tf.function(lambda images: network(images, training=False))
    graph = call.get_concrete_function(tf.TensorSpec([1, size, size, 3])).graph
    scales = sum(layer.gamma.shape[0] for layer in network.layers if hasattr(layer, "gamma"))
    return efficientnet.Counts(cost.parameters_of(graph), scales, cost.flops_of(graph))


@pytest.mark.parametrize(("variant", "size"), [(0, 224), (2, 97)])
def test_counts_a_network_as_by_hand(variant: int, size: int) -> None:
    assert counted(variant, size) == efficientnet.count(variant, size)


@pytest.mark.parametrize("variant", TORCHVISION)
def test_counts_by_hand_are_what_torchvision_publishes(variant: int) -> None:
    parameters, size, billions = TORCHVISION[variant]
    network = efficientnet.count(variant, size)
    assert network.parameters + network.scales == parameters
    assert network.flops / 2e9 == pytest.approx(
        billions, rel=0.05
    )  # The published number is rounded and counts kernels only.


def test_counts_by_hand_are_those_of_b7_as_published() -> None:
    """Open Model Zoo, models/public/efficientnet-b7_auto_aug: 66.193 M parameters, 77.618 GFLOP."""
    network = efficientnet.count(7)
    assert network.parameters == 66_192_600
    assert network.flops / 1e9 == pytest.approx(77.618, rel=0.02)


def test_counts_by_hand_are_those_of_b6_as_published() -> None:
    """43.0 M parameters with its head, 38.8 GFLOP."""
    network = efficientnet.count(6)
    assert network.parameters / 1e6 == pytest.approx(43.0, rel=0.01)
    assert network.flops / 1e9 == pytest.approx(38.8, rel=0.02)


def test_counts_a_saved_model_as_the_network_in_it(standin: Standin) -> None:
    spec = registry.get("efficientnet-b0", "classify")
    folder, network = standin(spec.name, spec.task), efficientnet.count(0)
    assert (cost.parameters(folder), cost.flops(folder, spec)) == (network.parameters, network.flops)


def test_an_embedder_costs_a_classifier_without_its_head(standin: Standin) -> None:
    spec = registry.get("efficientnet-b0", "embed")
    folder, network = standin(spec.name, spec.task), efficientnet.count(0)
    assert cost.parameters(folder) == network.parameters - (1280 + 1) * 1000
    assert cost.flops(folder, spec) == network.flops - (2 * 1280 + 1) * 1000


def test_operations_grow_with_the_size_of_the_image(standin: Standin) -> None:
    folder = standin("efficientnet-b0", "embed")
    small, large = (ModelSpec("b0", "embed", size, 1280, "features") for size in (64, 128))
    assert cost.flops(folder, large) / cost.flops(folder, small) == pytest.approx(4, rel=0.03)


def test_counts_a_small_graph_as_by_hand() -> None:
    """A convolution of 3 x 3 x 2 -> 5 with bias on 4 x 4, a depthwise one with a batch norm, a matrix product."""
    tf = tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, 4, 4, 2])
        maps = tf.nn.bias_add(tf.nn.conv2d(images, tf.ones([3, 3, 2, 5]), 1, "SAME"), tf.ones(5))
        maps = tf.nn.depthwise_conv2d(maps, tf.ones([3, 3, 5, 1]), [1, 2, 2, 1], "SAME")
        ones = tf.ones(5)
        maps = tf.raw_ops.FusedBatchNormV3(x=maps, scale=ones, offset=ones, mean=ones, variance=ones, is_training=False)
        maps = 2.0 * tf.sigmoid(maps.y)
        tf.linalg.matmul(tf.reduce_mean(maps, [1, 2]), tf.ones([5, 7]))

    assert cost.parameters_of(graph) == (3 * 3 * 2 * 5 + 5) + (3 * 3 * 5 + 5) + (5 * 7 + 7)
    convolution, depthwise, product = 2 * 3 * 3 * 2 * (4 * 4 * 5), 2 * 3 * 3 * (2 * 2 * 5), 2 * 5 * 7
    bias, norm, sigmoid = 4 * 4 * 5, 2 * (2 * 2 * 5), 2 * 2 * 5
    assert cost.flops_of(graph) == convolution + bias + depthwise + norm + sigmoid + product


def test_refuses_what_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a SavedModel"):
        cost.parameters(tmp_path)


def test_refuses_a_saved_model_without_a_signature(tmp_path: Path) -> None:
    tf = tensorflow()
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="one signature 'serving_default'"):
        cost.parameters(tmp_path)


def test_refuses_shapes_that_do_not_follow_from_the_input() -> None:
    tf = tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, None, None, 3])
        tf.nn.conv2d(images, tf.ones([3, 3, 3, 4]), 1, "SAME")
    assert cost.parameters_of(graph) == 3 * 3 * 3 * 4 + 4
    with pytest.raises(ModelError, match="only fixed shapes can be counted"):
        cost.flops_of(graph)
