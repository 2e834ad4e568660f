"""Cores and memory that this process may use: what its container allows, and not what the host has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTAS = (  # quota and period in microseconds: cgroup v2 has both in one file
    ("cpu.max",),
    ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
)
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores, at least 1, after CPU affinity and the quota of the control group.

    Args:
        root: Where the control groups are mounted. A container finds its own at the top.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    for names in _QUOTAS:
        numbers = " ".join(_read(root / name) for name in names).split()
        if len(numbers) == 2 and numbers[0].isdigit() and numbers[1].isdigit() and int(numbers[1]) > 0:
            available = min(available, math.ceil(int(numbers[0]) / int(numbers[1])))
    return max(1, available)


def memory(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes of memory: those of the machine, or the limit of the control group if that is lower."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMITS:
        limit = _read(root / name).strip()
        if limit.isdigit():
            available = min(available, int(limit))
    return available


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
