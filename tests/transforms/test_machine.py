from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms import machine


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "odd"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_cores(tmp_path: Path, eight_cores: None, files: dict[str, str], cores: int) -> None:
    assert machine.cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory(tmp_path: Path, name: str) -> None:
    everything = machine.memory(tmp_path)
    assert machine.memory(write(tmp_path, {name: "1048576\n"})) == 1 << 20
    assert machine.memory(write(tmp_path, {name: "9223372036854771712\n"})) == everything
    assert machine.memory(write(tmp_path, {name: "max\n"})) == everything
