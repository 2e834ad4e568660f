"""Keep the models that OpenVINO compiled on the local disk. Compiling takes seconds, most of all for int8.

A file has only the optimized layers, 1 to 5 MB, and the weights are read from the IR. Its name depends on everything
that OpenVINO compiled it from. It begins with its own hash, so that a damaged file is never used.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from transforms import machine
from transforms.inference.bundle import cache_dir
from transforms.inference.libraries import core, openvino
from transforms.storage import whole_file

MAX_BYTES = 256_000_000  # of all files; the ones not used for the longest time are deleted

_HASH_BYTES = hashlib.sha256().digest_size


def compile_model(model: Path, config: dict[str, Any]) -> Any:
    """Return an IR, compiled for the CPU or read from the disk. OpenVINO runs the same layers in both cases.

    Raises:
        OSError: The IR cannot be read.
        RuntimeError: OpenVINO cannot compile it.
    """
    weights = model.with_suffix(".bin")
    config = config | {"CACHE_MODE": "OPTIMIZE_SIZE"}  # without the weights
    key = _key(model, weights, config)
    with suppress(RuntimeError):  # also if the user has no home folder
        if (layers := _read(_folder() / key)) is not None:
            return core().import_model(layers, "CPU", config | {"WEIGHTS_PATH": str(weights)})
    result = core().compile_model(model, "CPU", config)
    with suppress(OSError, RuntimeError):  # a full or read-only disk costs the time to compile again
        _write(_folder() / key, result.export_model().getvalue())
    return result


def _folder() -> Path:
    return cache_dir() / "compiled"


def _key(model: Path, weights: Path, config: dict[str, Any]) -> str:
    status = weights.stat()
    parts = [
        hashlib.sha256(model.read_bytes()).hexdigest(),
        [status.st_size, status.st_mtime_ns],
        config,
        openvino().get_version(),
        core().get_property("CPU", "FULL_DEVICE_NAME"),
        core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        machine.cores(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    layers = data[_HASH_BYTES:]
    if hashlib.sha256(layers).digest() != data[:_HASH_BYTES]:
        return None
    with suppress(OSError):
        path.touch()  # used now
    return layers


def _write(path: Path, layers: bytes) -> None:
    with whole_file.replace(path) as file:
        file.write(hashlib.sha256(layers).digest() + layers)
    kept = 0
    for other in sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True):
        kept += other.stat().st_size
        if kept > MAX_BYTES and other != path:
            other.unlink(missing_ok=True)
