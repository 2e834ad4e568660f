from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from beamsight.models import registry
from transforms.errors import UsageError
from transforms.inference.spec import ModelSpec

SPEC = ModelSpec(name="birds-v2.1_x", task="classify", size=320, width=0, output="logits")


def test_defaults_are_those_of_the_published_modules() -> None:
    assert (SPEC.crop, SPEC.value_range, SPEC.channel_order) == ("square", (0.0, 1.0), "rgb")
    assert (SPEC.layout, SPEC.source) == ("nhwc", None)


@pytest.mark.parametrize("spec", [SPEC, *registry.MODELS], ids=lambda spec: f"{spec.name}-{spec.task}")
def test_json_round_trip(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_is_plain() -> None:
    assert replace(SPEC, value_range=(0.0, 255.0), channel_order="bgr").to_json() == {
        "name": "birds-v2.1_x",
        "task": "classify",
        "size": 320,
        "width": 0,
        "output": "logits",
        "crop": "square",
        "value_range": [0.0, 255.0],
        "channel_order": "bgr",
        "layout": "nhwc",
        "source": None,
    }


def test_json_of_a_later_version_is_refused_and_not_forgotten() -> None:
    values = SPEC.to_json() | {"tokens": 7, "patches": 3}
    with pytest.raises(UsageError, match=r"unknown fields \['patches', 'tokens'\]; upgrade"):
        ModelSpec.from_json(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "model name '': use letters, digits"),
        ({"name": "a/b"}, "model name 'a/b': use letters, digits"),
        ({"name": "vögel"}, "model name 'vögel': use letters"),
        ({"name": "a b"}, "model name 'a b': use letters"),
        ({"task": "segment"}, "birds-v2.1_x: task 'segment' is not one of classify, embed"),
        ({"crop": "left"}, "crop 'left' is not one of square, central, squash, pad"),
        ({"channel_order": "grb"}, "channel_order 'grb' is not one of rgb, bgr"),
        ({"layout": "chwn"}, "layout 'chwn' is not one of nhwc, nchw"),
        ({"output": "scores"}, "output 'scores' is not one of probabilities, logits, features"),
        ({"output": "features"}, "task 'classify' cannot give 'features'"),
        ({"task": "embed"}, "task 'embed' cannot give 'logits'"),
        ({"size": 0}, "input size 0 is not within 1..8192 pixels"),
        ({"size": -5}, "input size -5 is not"),
        ({"size": 8193}, "input size 8193 is not"),
        ({"width": -1}, "output width -1 is negative"),
        ({"value_range": (1.0, 1.0)}, "value range 1..1 is invalid; pass the lower end first"),
        ({"value_range": (255.0, 0.0)}, "value range 255..0 is invalid"),
        ({"value_range": (0.0, float("nan"))}, "value range 0..nan is invalid"),
        ({"value_range": (0.0, float("inf"))}, "value range 0..inf is invalid"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        replace(SPEC, **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [1, 8192])
def test_sizes_at_the_borders(size: int) -> None:
    assert replace(SPEC, size=size).size == size


def test_preprocessing_tells_all_that_changes_the_pixels() -> None:
    assert SPEC.preprocessing() == "square 320x320 bicubic rgb 0..1"
    assert replace(SPEC, resizer="simd").preprocessing() == "square 320x320 bicubic-simd rgb 0..1"
    other = replace(SPEC, crop="central", size=600, channel_order="bgr", value_range=(-1.0, 255.0))
    assert other.preprocessing() == "central 600x600 bicubic bgr -1..255"


def test_the_resizer_is_no_part_of_a_bundle() -> None:
    values = replace(SPEC, resizer="simd").to_json()
    assert ModelSpec.from_json(values) == SPEC
    with pytest.raises(UsageError, match=r"unknown fields .'resizer'"):
        ModelSpec.from_json(values | {"resizer": "simd"})
