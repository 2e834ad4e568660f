"""Choose an engine for a bundle, and load it."""

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
    """Return the engine for a bundle. By default, CPUs use openvino and GPUs use tensorflow.

    The engine is chosen when a job is built, so that all workers use the same one.

    Raises:
        ModelError: The bundle does not have the form that the engine needs.
    """
    name: EngineName = wanted or ("tensorflow" if (gpu and made.has_saved_model) or not made.ir("f32") else "openvino")
    if precision == "int8" and wanted != "tensorflow" and not made.ir("int8"):
        raise ModelError(f"{made.spec.name} has no int8 form; create it with `beamsight models quantize`")
    if name == "tensorflow" and precision == "int8":
        raise ModelError("the tensorflow engine does not support int8; use --engine openvino or --precision bf16")
    if name == "tensorflow" and not made.has_saved_model:
        raise ModelError(f"{made.spec.name} was staged from an IR, which TensorFlow cannot run; use --engine openvino")
    if name == "openvino" and not made.ir(precision):
        raise ModelError(f"{made.spec.name} has no form for OpenVINO; stage it again, or use --engine tensorflow")
    return name


def has_gpu() -> bool:
    """Return whether this machine has a GPU."""
    return Path("/dev/nvidia0").exists()


def form(name: EngineName) -> str:
    """Return the form of a bundle that an engine runs."""
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
    """Load the model of a local bundle into an engine. The library of the engine is imported here.

    Args:
        name: The engine.
        folder: The local folder of the bundle.
        spec: The specification of the model.
        precision: Numeric precision of the model.
        batch: Images per call. None for the engine's default.
        threads: Cores that the engine may use. None for all.
    """
    if name == "tensorflow":
        from transforms.inference.tensorflow_engine import TensorFlowEngine

        return TensorFlowEngine(folder / bundle.SAVED_MODEL, spec, precision, batch=batch or BATCH, threads=threads)
    if name != "openvino":
        raise UsageError(f"there is no engine {name!r}; use one of {', '.join(get_args(EngineName))}")
    from transforms.inference.openvino_engine import OpenVINOEngine

    ir = "int8" if precision == "int8" else "f32"
    return OpenVINOEngine(folder / bundle.OPENVINO / f"{ir}.xml", spec, precision, batch=batch, threads=threads)
