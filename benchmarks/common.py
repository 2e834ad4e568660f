"""Commands in processes of their own -> seconds and peak memory; figures -> lines on the screen and a JSON file."""

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

_PAUSE = 0.1  # seconds between two looks at the memory
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("beamsight", "apache-beam", "tensorflow", "openvino", "nncf", "ray", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended. peak: bytes of its tree of processes. reached: seconds until ``until`` was true."""

    seconds: float
    peak: int
    code: int
    output: str
    message: str
    reached: float | None = None


def measure(command: Sequence[str | Path], until: Callable[[], bool] | None = None) -> Measured:
    """Run a command to its end. ``message`` is the last line that it wrote to stderr."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
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
    """The most memory that a process and all below it held at once, looked at ten times a second.

    What processes share, such as libraries and a shared object store, counts once: their memory of their own is summed
    and the largest shared part added. For one process that is its resident memory.
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
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by now
            root = psutil.Process(self._pid)
            while not self._stop.wait(_PAUSE):
                self.bytes = max(self.bytes, _held([root, *root.children(recursive=True)]))


def _held(processes: Sequence[psutil.Process]) -> int:
    own, shared = 0, 0
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.Error:  # it has just ended
            continue
        common = getattr(memory, "shared", 0)  # Linux has it
        own += memory.rss - common
        shared = max(shared, common)
    return own + shared


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured of whom, and its ratio to the same of the baseline."""

    name: str
    what: str
    value: float
    unit: str
    baseline: str | None = None
    ratio: float | None = None


class Figures:
    """Prints each figure as it comes and keeps it for the JSON file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._figures: list[Figure] = []
        self._missing: dict[str, str] = {}
        self._file: Path | None = arguments.json
        self._machine = machine()

    def add(self, name: str, what: str, value: float, unit: str, baseline: str | None = None) -> None:
        """baseline: the name of an earlier figure of the same ``what``; where there is none, no ratio is given."""
        base = self.find(baseline, what)
        ratio = value / base.value if base is not None and base.value and baseline != name else None
        self._figures.append(Figure(name, what, value, unit, baseline, ratio))
        digits = 6 if not unit else 4  # of a cosine, what lacks to 1 is what matters
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
        beside = f"   {ratio:.2f} x {baseline}" if ratio is not None else ""
        print(f"{name:26} {what:26} {text:>10} {unit}{beside}".rstrip(), flush=True)

    def find(self, name: str | None, what: str) -> Figure | None:
        """An earlier figure."""
        return next((figure for figure in self._figures if (figure.name, figure.what) == (name, what)), None)

    def not_available(self, name: str, why: str) -> None:
        """What could not be measured, and why."""
        self._missing[name] = why
        print(f"{name:26} not available: {why}", flush=True)

    def write(self, **details: Any) -> None:
        """Everything -> the file of ``--json``, if one was asked for. details: such as each repetition's seconds."""
        if self._file is not None:
            figures = [asdict(figure) for figure in self._figures]
            whole = {"machine": self._machine, "figures": figures, "not_available": self._missing, **details}
            self._file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def machine() -> Mapping[str, Any]:
    """When, where, with what and beside how much other work it was measured."""
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
    """The option that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return made


def progress(text: str) -> None:
    """To stderr, so that stdout holds figures alone."""
    print(f"  {datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
