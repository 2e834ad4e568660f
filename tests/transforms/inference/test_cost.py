from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from standins import Standin

from transforms.errors import ModelError
from transforms.inference import cost, registry
from transforms.inference import standin as architecture
from transforms.inference.spec import ModelSpec
from transforms.inference.tensorflow_import import tensorflow

# Tan and Le, EfficientNet, table 2, https://arxiv.org/abs/1905.11946: millions of parameters, billions of multiply-adds.
PAPER = {
    0: (5.3, 0.39),
    1: (7.8, 0.70),
    2: (9.2, 1.0),
    3: (12, 1.8),
    4: (19, 4.2),
    5: (30, 9.9),
    6: (43, 19),
    7: (66, 37),
}


def graph(spec: ModelSpec) -> Any:
    """The network for one image as a graph, without weights that would take long to set."""
    tf, network = tensorflow(), architecture.build(spec)
    call = tf.function(lambda images: network(images, training=False))
    return call.get_concrete_function(tf.TensorSpec([1, spec.size, spec.size, 3])).graph


@pytest.mark.parametrize("variant", range(6))
def test_counts_what_the_paper_says(variant: int) -> None:
    counted = graph(registry.get(f"efficientnet-b{variant}", "classify"))
    millions, billions = PAPER[variant]
    assert cost.parameters_of(counted) / 1e6 == pytest.approx(millions, rel=0.03)  # the paper rounds to two digits
    assert cost.flops_of(counted) / 2e9 == pytest.approx(billions, rel=0.05)


def test_counts_b7_as_published() -> None:
    """Open Model Zoo, models/public/efficientnet-b7_auto_aug: 66.193 M parameters, 77.618 GFLOP."""
    counted = graph(registry.get("efficientnet-b7", "classify"))
    assert cost.parameters_of(counted) == 66_192_600
    assert cost.flops_of(counted) / 1e9 == pytest.approx(77.618, rel=0.02)


def test_counts_b6_as_published() -> None:
    """43.0 M parameters with the head that a feature vector does without, 38.8 GFLOP."""
    counted = graph(registry.get("efficientnet-b6", "embed"))
    head = (2304 + 1) * 1000
    assert (cost.parameters_of(counted) + head) / 1e6 == pytest.approx(43.0, rel=0.01)
    assert cost.flops_of(counted) / 1e9 == pytest.approx(38.8, rel=0.02)


def test_counts_a_saved_model_as_the_network_in_it(standin: Standin) -> None:
    spec = registry.get("efficientnet-b0", "classify")
    folder, counted = standin(spec.name, spec.task), graph(spec)
    assert cost.parameters(folder) == cost.parameters_of(counted) == 5_267_540
    assert cost.flops(folder, spec) == cost.flops_of(counted)


def test_operations_grow_with_the_size_of_the_image(standin: Standin) -> None:
    folder = standin("efficientnet-b0", "embed")
    small, large = (ModelSpec("b0", "embed", size, 1280, "features") for size in (64, 128))
    assert cost.flops(folder, large) / cost.flops(folder, small) == pytest.approx(4, rel=0.01)


def test_counts_by_hand() -> None:
    """A convolution of 3 x 3 x 2 -> 5 with bias on 4 x 4, a depthwise one with a batch norm, a matrix product."""
    tf = tensorflow()
    counted = tf.Graph()
    with counted.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, 4, 4, 2])
        maps = tf.nn.bias_add(tf.nn.conv2d(images, tf.ones([3, 3, 2, 5]), 1, "SAME"), tf.ones(5))
        maps = tf.nn.depthwise_conv2d(maps, tf.ones([3, 3, 5, 1]), [1, 2, 2, 1], "SAME")
        ones = tf.ones(5)
        maps = tf.raw_ops.FusedBatchNormV3(x=maps, scale=ones, offset=ones, mean=ones, variance=ones, is_training=False)
        maps = 2.0 * tf.sigmoid(maps.y)
        tf.linalg.matmul(tf.reduce_mean(maps, [1, 2]), tf.ones([5, 7]))

    assert cost.parameters_of(counted) == (3 * 3 * 2 * 5 + 5) + (3 * 3 * 5 + 5) + (5 * 7 + 7)
    convolution, depthwise, product = 2 * 3 * 3 * 2 * (4 * 4 * 5), 2 * 3 * 3 * (2 * 2 * 5), 2 * 5 * 7
    bias, norm, sigmoid = 4 * 4 * 5, 2 * (2 * 2 * 5), 2 * 2 * 5
    assert cost.flops_of(counted) == convolution + bias + depthwise + norm + sigmoid + product


def test_refuses_what_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no SavedModel"):
        cost.parameters(tmp_path)


def test_refuses_a_saved_model_without_a_signature(tmp_path: Path) -> None:
    tf = tensorflow()
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="one signature 'serving_default'"):
        cost.parameters(tmp_path)


def test_refuses_shapes_that_do_not_follow_from_the_input() -> None:
    tf = tensorflow()
    counted = tf.Graph()
    with counted.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, None, None, 3])
        tf.nn.conv2d(images, tf.ones([3, 3, 3, 4]), 1, "SAME")
    assert cost.parameters_of(counted) == 3 * 3 * 3 * 4 + 4
    with pytest.raises(ModelError, match="only fixed shapes can be counted"):
        cost.flops_of(counted)
