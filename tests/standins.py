"""Stand-ins for the tests, each built once a machine: B7 takes half a minute. A plugin, imported by conftest.py."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

from beamsight.models import registry
from beamsight.models import standin as architecture
from transforms.imaging import drawn
from transforms.inference.spec import Task

Standin = Callable[[str, Task], Path]


@pytest.fixture(scope="session")
def standin() -> Standin:
    """A registered name and a task -> the folder of its stand-in with seed 0, shared: not to be written to."""
    cache = Path(tempfile.gettempdir(), f"beamsight-test-standins-{_fingerprint()}")
    cache.mkdir(exist_ok=True)

    def build(name: str, task: Task) -> Path:
        folder = cache / f"{name}-{task}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # it appears whole or not at all
                architecture.write_standin(registry.get(name, task), folder)
        return folder

    return build


def _fingerprint() -> str:
    """8 hex digits over all that makes a stand-in what it is."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (architecture, drawn, registry)]
    versions = [metadata.version(package).encode() for package in ("keras", "numpy", "tensorflow")]
    return hashlib.sha256(b"\0".join(sources + versions)).hexdigest()[:8]
