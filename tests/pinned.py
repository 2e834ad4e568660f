"""Packaging in tests: the files that pin packages, a copy of the sources, and the tool that builds and installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"


def of(kind: str) -> Path:
    """cpu or gpu -> what its image installs."""
    return ROOT / "containers" / f"{kind}-requirements.txt"


def lines(path: Path) -> list[str]:
    """``name==version ; marker`` each, without comments."""
    text = path.read_text(encoding="utf-8").splitlines()
    return [line for line in text if line and not line.lstrip().startswith("#")]


def applicable(kind: str) -> set[str]:
    """``name==version`` of what would be installed on this machine."""
    needed = [Requirement(line) for line in lines(of(kind))]
    return {
        f"{canonicalize_name(each.name)}{each.specifier}"
        for each in needed
        if each.marker is None or each.marker.evaluate()
    }


def copy_sources(to: Path) -> Path:
    """Copy what a package is built from, and nothing else of the checkout."""
    to.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, to / name)
    for name in ("beamsight", "pipelines", "runners", "transforms"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def uv(*arguments: str | Path) -> None:
    """Run uv, and skip the test where it cannot reach a registry."""
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=540)
    if done.returncode and re.search("error sending request|dns error|Connection refused", done.stderr):
        pytest.skip(f"no package can be downloaded here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
