"""OpenVINO, imported late and without its telemetry."""

from __future__ import annotations

import sys
from typing import Any


def openvino() -> Any:
    """The module ``openvino``.

    Its import alone would tell Google Analytics, from a forked process, and keep a client's id in the home folder, on
    each worker of each job. It does without where the package for that is not installed, and so it looks from here.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python takes for "not there"
    import openvino

    return openvino
