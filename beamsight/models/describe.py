"""Texts of ``beamsight models list`` and ``beamsight models show``."""

from __future__ import annotations

from beamsight import text
from beamsight.models import facts, registry, staging
from transforms.errors import ModelError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.spec import ModelSpec, Precision
from transforms.storage import files

_PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")
_HEADINGS = ("NAME", "TASK", "INPUT", "OUTPUT", "PARAMS M", "GFLOP", "MB", "TOP-1 %", "F32/S", "BF16/S", "INT8/S")
_NOTES = """
GFLOP    10^9 operations for one image; a multiply-add is two
MB       size of the download, estimated as float32 parameters
TOP-1 %  published accuracy on ImageNet
F32/S    images per second on one CPU core with OpenVINO; ~ marks an estimate from GFLOP
LOCAL    whether the model is in this machine's cache"""
_NO_SOURCE = "no download; stage your own files"


def list_models() -> str:
    """Return a table of the registered models, one line each, and notes on its columns."""
    rows = [(*_HEADINGS, "LOCAL"), *(_row(spec) for spec in registry.MODELS)]
    return text.columns(rows, right=range(2, len(_HEADINGS))) + "\n" + _NOTES


def show(name: str) -> str:
    """Return what is known of the models of a registered name, or of a bundle, one fact on a line."""
    registered = [spec for spec in registry.MODELS if spec.name == name]
    if registered:
        return "\n\n".join(_lines(_registered_facts(spec)) for spec in registered)
    registry.require_path(name)
    return _lines(_bundle_facts(name))


def _row(spec: ModelSpec) -> tuple[str, ...]:
    known = facts.of(spec)
    return (
        spec.name,
        spec.task,
        str(spec.size),
        str(spec.width),
        f"{known.parameters:.1f}",
        f"{known.gflop:.1f}",
        "-" if known.download_mb is None else f"{known.download_mb:.0f}",
        "-" if known.top1 is None else f"{known.top1:.1f}",
        *(_rate(known, precision) for precision in _PRECISIONS),
        "yes" if _is_local(spec) else "no",
    )


def _rate(known: facts.Facts, precision: Precision) -> str:
    """Return images per second as text: one decimal if measured, ``~`` and two significant digits if estimated."""
    rate = known.images_per_second[precision]
    if known.measured:
        return f"{rate:.1f}"
    return f"~{rate:.1f}" if rate < 10 else f"~{float(f'{rate:.2g}'):.0f}"


def _is_local(spec: ModelSpec) -> bool:
    return (staging.cached_bundle(spec.name, spec.task) / bundle.MODEL_JSON).exists()


def _registered_facts(spec: ModelSpec) -> dict[str, str]:
    known = facts.of(spec)
    folder = staging.cached_bundle(spec.name, spec.task)
    rates = ", ".join(f"{_rate(known, precision)} ({precision})" for precision in _PRECISIONS)
    megabytes = known.download_mb
    return _spec_facts(spec) | {
        "source": spec.source or _NO_SOURCE,
        "parameters": f"{known.parameters:.1f} M",
        "operations": f"{known.gflop:.1f} GFLOP an image",
        "download": "-" if megabytes is None else f"about {megabytes:.0f} MB, estimated as float32 parameters",
        "accuracy": "-" if known.top1 is None else f"{known.top1:.1f} % top-1 on ImageNet, as published",
        "images/s": f"{rates} on one CPU core, {'measured' if known.measured else 'estimated from the operations'}",
        "local bundle": str(folder) if _is_local(spec) else "none",
    }


def _bundle_facts(name: str) -> dict[str, str]:
    uri = files.absolute(name)
    model = bundle.read(uri)
    known = _spec_facts(model.spec) | {
        "source": model.source,
        "content hash": model.content_hash,
        "made with": ", ".join(f"{package} {version}" for package, version in model.made_with.items()),
        "files": str(len(model.files)),
        "engines": ", ".join(_engines(model)),
    }
    if not model.has_saved_model:
        return known
    from beamsight.models import cost

    folder = bundle.localize(uri, model.content_hash) / bundle.SAVED_MODEL
    try:
        known["parameters"] = f"{cost.parameters(folder) / 1e6:.3f} M"
        known["operations"] = f"{cost.flops(folder, model.spec) / 1e9:.3f} GFLOP an image"
    except ModelError as error:  # Some models run well and cannot be counted.
        known["not counted"] = str(error)
    return known


def _spec_facts(spec: ModelSpec) -> dict[str, str]:
    return {
        "name": spec.name,
        "task": spec.task,
        "input": spec.preprocessing(),
        "output": f"{spec.width} {spec.output}",
    }


def _engines(model: Bundle) -> list[str]:
    """Return the engines that can run a bundle."""
    return ["tensorflow"] * model.has_saved_model + ["openvino"] * (model.ir("f32") is not None)


def _lines(known: dict[str, str]) -> str:
    return text.columns(known.items())
