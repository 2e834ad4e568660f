"""The wheel, installed: the command works beside packages of the user that have the same names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pinned
import pytest
from pinned import ROOT

from transforms.imaging import drawn


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = pinned.copy_sources(tmp_path_factory.mktemp("source") / "beamsight")
    pinned.uv("build", "--quiet", "--wheel", "--out-dir", source / "dist", source)
    (made,) = (source / "dist").glob("*.whl")
    return made


@pytest.fixture
def environment(tmp_path: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel, which takes the dependencies from the one that runs the tests."""
    folder = tmp_path / "venv"
    pinned.uv("venv", "--quiet", "--python", sys.executable, folder)
    pinned.uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", "--no-deps", wheel)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder of a user who has modules and packages of the same names."""
    folder = tmp_path / "users"
    for name in ("runners", "pipelines"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('not this one')\n", encoding="utf-8")
    (folder / "transforms.py").write_text("raise ImportError('not this one')\n", encoding="utf-8")
    return folder


def beamsight(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "beamsight"), *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )


def test_a_job_runs_beside_a_users_own_transforms(environment: Path, users: Path, tiny_classifier: str) -> None:
    (users / "a.jpg").write_bytes(drawn.encode(drawn.draw(0, 60, 40)))
    shown = beamsight(environment, users, "--version")
    assert (shown.stdout, shown.stderr) == (f"beamsight {metadata.version('beamsight')}\n", "")
    models = ("--classifier", tiny_classifier, "--embedder", "none")
    done = beamsight(environment, users, "run", "--images", "a.jpg", "--output", "out", *models)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: 1 image in ")


@pytest.mark.parametrize("name", ["transforms", "pipelines", "runners"])
def test_a_package_that_another_distribution_overwrote_is_named(environment: Path, users: Path, name: str) -> None:
    (site,) = (environment / "lib").glob("python*/site-packages")
    shutil.rmtree(site / name)
    (site / name).mkdir()
    (site / name / "__init__.py").write_text("", encoding="utf-8")
    record = site / "other-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n", encoding="utf-8")
    (record / "RECORD").write_text(f"{name}/__init__.py,,\n", encoding="utf-8")
    done = beamsight(environment, users, "run", "--help")
    assert done.returncode == 3
    assert done.stderr == (
        f"beamsight: the package {name} belongs to other, and not to beamsight; install beamsight in an environment of "
        "its own\n"
    )


def test_importing_the_package_changes_nothing() -> None:
    program = """
import logging, os, sys, warnings

def state():
    return list(sys.path), dict(os.environ), list(warnings.filters), logging.root.handlers[:]

before, modules = state(), set(sys.modules)
import beamsight
new = {name.partition(".")[0] for name in sys.modules.keys() - modules}
print(state() == before, sorted(new & {"numpy", "PIL", "apache_beam", "transforms", "runners"}), beamsight.__version__)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"True [] {metadata.version('beamsight')}\n"
