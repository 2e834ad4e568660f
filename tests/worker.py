"""Run by a worker's Python, not by pytest: does a staged pipeline, and says as JSON what it saw of its machine.

    python -I tests/worker.py PIPELINE.pb

Any attempt to reach another machine is an error.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def alone(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        if host not in ("127.0.0.1", "::1", "localhost") and not str(host).startswith("/"):
            raise ConnectionError(f"a worker here has no network, and asked for {address}")


def run(path: str) -> dict[str, Any]:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import EmbeddedPythonEnvironment
    from packaging.utils import canonicalize_name

    staged = beam_runner_api_pb2.Pipeline.FromString(Path(path).read_bytes())
    here = EmbeddedPythonEnvironment.default().to_runner_api(None)
    for environment in staged.components.environments.values():
        environment.CopyFrom(here)
    FnApiRunner().run_via_runner_api(staged, PipelineOptions([])).wait_until_finish()
    return {
        "installed": sorted(f"{canonicalize_name(each.name)}=={each.version}" for each in metadata.distributions()),
        "ours": {name: str(sys.modules[name].__file__) for name in ("transforms.process", "pipelines.catalog")},
        "tensorflow": bool(importlib.util.find_spec("tensorflow")),
        "path": sys.path,
    }


if __name__ == "__main__":
    sys.addaudithook(alone)
    print(json.dumps(run(sys.argv[1])))
