from __future__ import annotations

from typing import get_args

import efficientnet
import pytest

from beamsight.models import facts, registry
from transforms.inference.spec import Precision


@pytest.mark.parametrize("variant", range(8))
def test_parameters_and_operations_are_those_of_the_network(variant: int) -> None:
    spec = registry.get(f"efficientnet-b{variant}", "classify")
    network = efficientnet.count(variant)
    assert spec.size == efficientnet.VARIANTS[variant][2]
    assert facts.of(spec).parameters == pytest.approx(network.parameters / 1e6, rel=0.002)
    assert facts.of(spec).gflop == pytest.approx(network.flops / 1e9, rel=0.012)


def test_an_embedder_has_no_head_and_no_accuracy() -> None:
    classifier = facts.of(registry.get("efficientnet-b6", "classify"))
    embedder = facts.of(registry.get("efficientnet-b6", "embed"))
    assert classifier.parameters - embedder.parameters == pytest.approx(2305 * 1000 / 1e6)
    assert (classifier.top1, embedder.top1) == (84.0, None)
    assert embedder.images_per_second == classifier.images_per_second


def test_the_download_is_estimated_from_the_parameters() -> None:
    known = facts.of(registry.get("efficientnet-b7", "classify"))
    assert known.download_mb == pytest.approx(4 * 66.193)
    assert facts.of(registry.get("efficientnet-b7_auto_aug", "classify")).download_mb is None


def test_speeds_are_measured_or_follow_from_the_operations() -> None:
    measured = [spec.name for spec in registry.MODELS if facts.of(spec).measured]
    assert measured == ["efficientnet-b6", "efficientnet-b7"] * 2
    for spec in registry.MODELS:
        known = facts.of(spec)
        assert known.images_per_second.keys() == set(get_args(Precision))
        for precision, rate in known.images_per_second.items():
            gflops = facts.GFLOPS["openvino", precision]
            assert rate == pytest.approx(gflops / known.gflop, rel=0.08 if known.measured else 1e-9)


def test_operations_by_name() -> None:
    assert facts.gflop("efficientnet-b7") == facts.gflop("efficientnet-b7-standin") == 77.618
    assert facts.gflop("of-my-own") is None
