"""The engines there are: which one a job takes, and a bundle on this disk -> what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from transforms.errors import ModelError, UsageError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.engine import BATCH, Engine
from transforms.inference.spec import EngineName, ModelSpec, Precision

AUTO = "auto"


def choose(wanted: EngineName | None, precision: Precision, made: Bundle, *, gpu: bool) -> EngineName:
    """The engine for a bundle: the wanted one, or else openvino on CPUs and tensorflow on GPUs.

    Settled when a job is built, so that all its workers use the same. Raises ModelError where the bundle does not hold
    what the engine needs.
    """
    name: EngineName = wanted or ("tensorflow" if (gpu and made.has_saved_model) or not made.ir("f32") else "openvino")
    if precision == "int8" and wanted != "tensorflow" and not made.ir("int8"):
        raise ModelError(f"{made.spec.name} has no int8 form; make it with `beamsight models quantize`")
    if name == "tensorflow" and precision == "int8":
        raise ModelError("the tensorflow engine has no int8; take --engine openvino, or --precision bf16")
    if name == "tensorflow" and not made.has_saved_model:
        raise ModelError(f"{made.spec.name} was staged from an IR, which TensorFlow cannot run; take --engine openvino")
    if name == "openvino" and not made.ir(precision):
        raise ModelError(f"{made.spec.name} has no form for OpenVINO; stage it again, or take --engine tensorflow")
    return name


def form(name: EngineName) -> str:
    """Which of a bundle's forms an engine runs."""
    return bundle.OPENVINO if name == "openvino" else bundle.SAVED_MODEL


def load(
    name: EngineName,
    folder: Path,
    spec: ModelSpec,
    precision: Precision = "f32",
    *,
    batch: int | None = None,
    threads: int | None = None,
) -> Engine:
    """A bundle's folder on this disk -> its engine. Heavy libraries are imported here and not before.

    batch: pictures at a time, default the engine's own. threads: cores that it may use, default all.
    """
    if name == "tensorflow":
        from transforms.inference.tensorflow_engine import TensorFlowEngine

        return TensorFlowEngine(folder / bundle.SAVED_MODEL, spec, precision, batch=batch or BATCH, threads=threads)
    if name != "openvino":
        raise UsageError(f"engine {name!r} is none of: {', '.join(get_args(EngineName))}")
    from transforms.inference.openvino_engine import OpenVINOEngine

    ir = "int8" if precision == "int8" else "f32"
    return OpenVINOEngine(folder / bundle.OPENVINO / f"{ir}.xml", spec, precision, batch=batch, threads=threads)
