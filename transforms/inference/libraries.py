"""TensorFlow and OpenVINO, imported on first use, without start-up messages and telemetry."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any

from transforms.errors import UsageError

_importing = threading.Lock()
_creating_core = threading.Lock()


def installed_versions(*names: str) -> dict[str, str]:
    """Return the versions of the distributions that are installed, and omit the others.

    Workers have no TensorFlow, for example.
    """
    return {
        name: distribution.version for name in names for distribution in list(metadata.distributions(name=name))[:1]
    }


def tensorflow() -> Any:
    """Return the module ``tensorflow``.

    The first import takes seconds and 400 MB, so only code that runs a model calls this. TensorFlow's C++ code
    writes messages about its build and missing GPUs to stderr before its log levels take effect. They do not concern
    the user's job, so they are shown only if the import fails.

    Raises:
        UsageError: TensorFlow is not installed, as on workers that run bundles with OpenVINO.
    """
    with _importing:
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            with _stderr_held_back():
                import tensorflow
        except ModuleNotFoundError as error:
            if error.name != "tensorflow":
                raise
            raise UsageError(
                "TensorFlow is not installed here, and staging a model needs it; run `beamsight models stage` where "
                "TensorFlow is installed, and pass the bundle"
            ) from error
        return tensorflow


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what is written to file descriptor 2, and write it there only after an error."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(original, messages.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def openvino() -> Any:
    """Return the module ``openvino``.

    On import, OpenVINO sends a message to Google Analytics from a forked process and stores a client id in the home
    folder, on each worker of each job. It does neither if its telemetry package is missing, so this function makes
    that package look missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes Python's import fail
    import openvino

    return openvino


def core() -> Any:
    """Return the only ``openvino.Core`` of this process. It lives as long as the process.

    The CPU plugin gives the thread that first uses it a stack for signals, and frees that stack when the plugin is
    unloaded. If another thread unloads it, the next Ctrl-C crashes the process instead of ending it.
    """
    with _creating_core:
        return _core()


@cache
def _core() -> Any:
    return openvino().Core()
