"""The files that pin packages: requirements.lock, and what containers/ makes of it."""

from __future__ import annotations

from pathlib import Path

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
