"""Measure the time and memory of commands, and print figures or write them to a JSON file."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
BEAMSIGHT = (sys.executable, "-m", "beamsight")

_INTERVAL = 0.1  # seconds between two memory samples
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("beamsight", "apache-beam", "tensorflow", "openvino", "nncf", "ray", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a finished command.

    Attributes:
        peak: Peak memory of the process and its descendants, in bytes.
        message: The last line on stderr.
        reached: Seconds until the condition ``until`` became true.
    """

    seconds: float
    peak: int
    code: int
    output: str
    message: str
    reached: float | None = None


def measure(
    command: Sequence[str | Path],
    until: Callable[[], bool] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Measured:
    """Run a command and measure it.

    Args:
        command: The command.
        until: It is polled while the command runs, until it returns true.
        variables: Environment variables to set.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"} | dict(variables or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=err, cwd=ROOT, env=environment)
        with Peak(process.pid) as peak:
            reached = None
            while until is not None and reached is None and process.poll() is None:
                reached = time.perf_counter() - began if until() else None
                time.sleep(0.01)
            code = process.wait()
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        lines = err.read().decode(errors="replace").strip().splitlines()
        return Measured(seconds, peak.bytes, code, out.read().decode(), lines[-1] if lines else "", reached)


class Peak:
    """The peak memory of a process and its descendants, sampled ten times a second.

    Shared memory, such as libraries and a shared object store, counts once: the value is the sum of the private memory
    plus the largest shared part. For one process this is its resident memory.
    """

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # The process may have ended.
            root = psutil.Process(self._pid)
            while not self._stop.wait(_INTERVAL):
                self.bytes = max(self.bytes, _resident_bytes([root, *root.children(recursive=True)]))


def _resident_bytes(processes: Sequence[psutil.Process]) -> int:
    own, shared = 0, 0
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.Error:  # The process has just ended.
            continue
        common_bytes = getattr(memory, "shared", 0)  # Only Linux reports it.
        own += memory.rss - common_bytes
        shared = max(shared, common_bytes)
    return own + shared


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, the least and the greatest one of the repetitions, and its ratio to that of the baseline."""

    name: str
    what: str
    value: float
    unit: str
    baseline: str | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None


class Figures:
    """Prints each figure at once and collects all figures for the JSON file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._figures: list[Figure] = []
        self._unavailable: dict[str, str] = {}
        self._file: Path | None = arguments.json
        self._machine = machine()
        self.noise = 0.0  # relative difference between two measurements of the same thing

    def add(
        self,
        name: str,
        what: str,
        value: float,
        unit: str,
        baseline: str | None = None,
        spread: tuple[float, float] | None = None,
    ) -> None:
        """Print and store a figure, with its ratio to the figure ``baseline`` of the same ``what`` if there is one.

        A ratio that differs from 1 by no more than ``noise`` is not printed, because it says nothing.
        """
        base = self.find(baseline, what)
        ratio = value / base.value if base is not None and base.value and baseline != name else None
        self._figures.append(Figure(name, what, value, unit, baseline, ratio, spread))
        digits = 6 if not unit else 4  # The digits of a cosine that matter are those in its distance from 1.
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
        if spread is not None:
            unit += f" ({spread[0]:.3g} to {spread[1]:.3g})"
        beside = f"   {ratio:.2f} x {baseline}" if ratio is not None else ""
        if ratio is not None and abs(ratio - 1) <= self.noise:
            beside = f"   {baseline} within the noise of {100 * self.noise:.1f} %"
        print(f"{name:26} {what:26} {text:>10} {unit}{beside}".rstrip(), flush=True)

    def find(self, name: str | None, what: str) -> Figure | None:
        """Return an earlier figure, or None."""
        return next((figure for figure in self._figures if (figure.name, figure.what) == (name, what)), None)

    def not_available(self, name: str, reason: str) -> None:
        """Print and store the reason why something was not measured."""
        self._unavailable[name] = reason
        print(f"{name:26} not available: {reason}", flush=True)

    def write(self, **details: Any) -> None:
        """Write all figures to the file of ``--json``, if given. ``details`` are added to the JSON object."""
        if self._file is not None:
            figures = [asdict(figure) for figure in self._figures]
            document = {"machine": self._machine, "figures": figures, "not_available": self._unavailable, **details}
            self._file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine() -> Mapping[str, Any]:
    """Return the date, the machine, its load, and the versions of packages, for the JSON file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(sys.orig_argv[1:]),
        "cpu": facts.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in facts.get("flags", "").split()],
        "memory": psutil.virtual_memory().total,
        "load_at_start": os.getloadavg()[0],
        "versions": {"python": platform.python_version()} | dict(_versions()),
    }


def _versions() -> Mapping[str, str]:
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in _PACKAGES if name in installed}


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser with the option that all benchmarks share."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return result


def progress(text: str) -> None:
    """Print a line of progress to stderr, so that stdout contains only figures."""
    print(f"  {datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
