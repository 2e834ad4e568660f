from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transforms.errors import ModelError
from transforms.inference import bundle, engines
from transforms.inference.bundle import Bundle
from transforms.inference.openvino_engine import OpenVINOEngine
from transforms.inference.spec import ModelSpec
from transforms.inference.tensorflow_engine import TensorFlowEngine

SPEC = ModelSpec(name="birds", task="classify", size=8, width=5, output="logits")
SAVED = {"saved_model/saved_model.pb": "0" * 64}
F32 = {f"openvino/f32.{suffix}": "1" * 64 for suffix in ("xml", "bin")}
INT8 = {f"openvino/int8.{suffix}": "2" * 64 for suffix in ("xml", "bin")}

BUNDLES = {
    "all": Bundle(SPEC, "", SAVED | F32 | INT8, {}),
    "both": Bundle(SPEC, "", SAVED | F32, {}),
    "saved": Bundle(SPEC, "", SAVED, {}),  # which could not be converted
    "ir": Bundle(SPEC, "", F32, {}),
    "ir int8": Bundle(SPEC, "", F32 | INT8, {}),
}

NO_INT8 = "birds has no int8 form; create it with `beamsight models quantize`"
NEVER_INT8 = "the tensorflow engine does not support int8; use --engine openvino or --precision bf16"
ONLY_IR = "birds was staged from an IR, which TensorFlow cannot run; use --engine openvino"
NO_IR = "birds has no form for OpenVINO; stage it again, or use --engine tensorflow"


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    ("wanted", "precision", "made", "name"),
    [
        ("tensorflow", "f32", "both", "tensorflow"),
        ("tensorflow", "bf16", "both", "tensorflow"),
        ("tensorflow", "f32", "saved", "tensorflow"),
        ("openvino", "f32", "both", "openvino"),
        ("openvino", "bf16", "both", "openvino"),
        ("openvino", "int8", "all", "openvino"),
        ("openvino", "int8", "ir int8", "openvino"),
        (None, "f32", "saved", "tensorflow"),
        (None, "bf16", "saved", "tensorflow"),
        (None, "f32", "ir", "openvino"),
        (None, "bf16", "ir", "openvino"),
        (None, "int8", "ir int8", "openvino"),
    ],
)
def test_the_forms_of_the_bundle_decide(wanted: Any, precision: Any, made: str, name: str, gpu: bool) -> None:
    assert engines.choose(wanted, precision, BUNDLES[made], gpu=gpu) == name


@pytest.mark.parametrize(
    ("precision", "made", "on_cpu", "on_gpu"),
    [
        ("f32", "both", "openvino", "tensorflow"),
        ("bf16", "both", "openvino", "tensorflow"),
        ("f32", "all", "openvino", "tensorflow"),
    ],
)
def test_the_machine_decides_between_two_forms(precision: Any, made: str, on_cpu: str, on_gpu: str) -> None:
    assert engines.choose(None, precision, BUNDLES[made], gpu=False) == on_cpu
    assert engines.choose(None, precision, BUNDLES[made], gpu=True) == on_gpu


def test_int8_on_a_cpu() -> None:
    assert engines.choose(None, "int8", BUNDLES["all"], gpu=False) == "openvino"


@pytest.mark.parametrize(
    ("wanted", "precision", "made", "gpu", "message"),
    [
        ("tensorflow", "int8", "all", False, NEVER_INT8),
        (None, "int8", "all", True, NEVER_INT8),
        ("openvino", "int8", "both", False, NO_INT8),
        (None, "int8", "both", False, NO_INT8),
        (None, "int8", "saved", False, NO_INT8),
        (None, "int8", "ir", True, NO_INT8),
        ("tensorflow", "f32", "ir", False, ONLY_IR),
        ("tensorflow", "bf16", "ir int8", True, ONLY_IR),
        ("openvino", "f32", "saved", False, NO_IR),
        ("openvino", "bf16", "saved", True, NO_IR),
    ],
)
def test_impossible_choices(wanted: Any, precision: Any, made: str, gpu: bool, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        engines.choose(wanted, precision, BUNDLES[made], gpu=gpu)
    assert str(caught.value) == message


def test_load(tiny_classifier: str) -> None:
    folder, spec = Path(tiny_classifier), bundle.read(tiny_classifier).spec
    assert isinstance(engines.load("tensorflow", folder, spec), TensorFlowEngine)
    assert isinstance(engines.load("openvino", folder, spec), OpenVINOEngine)
    assert engines.load("tensorflow", folder, spec).batch == 8
    assert engines.load("openvino", folder, spec, batch=3).batch == 3
    with pytest.raises(ModelError, match=r"OpenVINO cannot run .*int8.xml"):
        engines.load("openvino", folder, replace(spec), "int8")
