"""OpenVINO, imported late and without its telemetry."""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any

_making = threading.Lock()


def openvino() -> Any:
    """The module ``openvino``.

    Its import alone would tell Google Analytics, from a forked process, and keep a client's id in the home folder, on
    each worker of each job. It does without where the package for that is not installed, and so it looks from here.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python takes for "not there"
    import openvino

    return openvino


def core() -> Any:
    """The one ``openvino.Core`` of this process, which lives as long as it.

    Its plugin for CPUs gives the thread that first needs it a stack for signals, and takes the memory back when it is
    dropped; where another thread drops it, the next Ctrl-C would crash the process instead of ending it.
    """
    with _making:
        return _core()


@cache
def _core() -> Any:
    return openvino().Core()
