"""The images: their versions are those of the lock file, and the script that builds them says what it should."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pinned
import pytest
from packaging.requirements import Requirement
from pinned import ROOT

CONTAINERS = ROOT / "containers"
LOCKED = {Requirement(line).name: line for line in pinned.lines(pinned.LOCK)}


PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def without(kind: str) -> set[str]:
    return set(pinned.lines(CONTAINERS / f"{kind}-without.txt"))


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_an_image_has_the_locked_versions_of_all_it_needs(kind: str) -> None:
    lines = pinned.lines(pinned.of(kind))
    unlocked = [line for line in lines if line not in pinned.lines(pinned.LOCK)]
    # CUDA, of which the lock file knows nothing: a dependency of the extra of TensorFlow that only the image has.
    assert all(re.fullmatch(r"nvidia-[a-z-]+-cu12==[0-9.]+", line) for line in unlocked), "run `make lock`"
    assert bool(unlocked) == (kind == "gpu")
    names = {Requirement(line).name for line in lines}
    declared = PROJECT.partition("\ndependencies = [")[2].partition("\n]")[0]
    direct = {Requirement(each).name for each in re.findall(r'^    "([^"]+)"', declared, re.MULTILINE)}
    assert len(direct) > 8
    assert direct - names == without(kind), "run `make lock`"


def test_the_image_for_cpus_has_nothing_that_only_tensorflow_needs() -> None:
    names = {Requirement(line).name for line in pinned.lines(pinned.of("cpu"))}
    assert not names & {"tensorflow", "keras", "tf-keras", "h5py", "libclang", "ml-dtypes", "tensorflow-hub", "pytest"}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_worker_starts_with_the_locked_beam(kind: str) -> None:
    text = (CONTAINERS / f"{kind}.Dockerfile").read_text(encoding="utf-8")
    beam, python = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    version = LOCKED["apache-beam"].partition("==")[2]
    assert beam == f"apache/beam_python3.11_sdk:{version}"
    assert python == "python:3.11-slim"
    assert f"containers/{kind}-requirements.txt" in text


def test_the_launcher_has_the_python_of_the_workers() -> None:
    text = (CONTAINERS / "flex.Dockerfile").read_text(encoding="utf-8")
    assert "/python311-template-launcher-base:" in text
    assert "FROM ${IMAGE}:${VERSION}-cpu" in text


def test_what_is_copied_is_in_the_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in ignored
    packages = {name.partition(".")[0] for name in ("pipelines", "runners", "transforms")}
    for name in ("LICENSE", "README.md", "containers", "pyproject.toml", "setup.py", *packages):
        assert f"!{name}" in ignored
        assert (ROOT / name).exists()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker and gcloud that write down how they are called; gcloud knows of no repository."""
    for name in ("docker", "gcloud"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path / "log"}\ncase "$*" in $FAILS) exit 1;; esac\n', encoding="utf-8"
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAILS", "artifacts repositories describe*")
    monkeypatch.delenv("KINDS", raising=False)
    return tmp_path / "log"


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(CONTAINERS / "build.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_one_script_builds_pushes_and_makes_the_template(log: Path) -> None:
    done = build("my-project", "europe-west4", "images", "gs://b/templates/beamsight.json")
    assert done.returncode == 0, done.stderr
    image = "europe-west4-docker.pkg.dev/my-project/images/beamsight"
    (version,) = re.findall(r'^version = "(.+)"$', PROJECT, re.MULTILINE)
    tags = [f"{image}:{version}-{kind}" for kind in ("cpu", "gpu", "flex")]
    calls = log.read_text(encoding="utf-8").splitlines()
    assert [call.split()[:4] for call in calls[:2]] == [
        ["gcloud", "artifacts", "repositories", "describe"],
        ["gcloud", "artifacts", "repositories", "create"],
    ]
    assert [call for call in calls if call.startswith("docker push")] == [f"docker push {tag}" for tag in tags]
    builds = [call for call in calls if call.startswith("docker build")]
    for kind, call, tag in zip(("cpu", "gpu", "flex"), builds, tags, strict=True):
        assert f"--file=containers/{kind}.Dockerfile --tag={tag} " in call
        assert calls.index(call) + 1 == calls.index(f"docker push {tag}")
    assert calls[-1].startswith("gcloud dataflow flex-template build gs://b/templates/beamsight.json ")
    assert f"--image={tags[-1]}" in calls[-1]
    assert f"--container-image {image}\n" in done.stdout


def test_a_build_that_fails_is_not_pushed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "build *gpu*")
    assert build("my-project", "europe-west4", "images", "gs://b/t.json").returncode == 1
    calls = log.read_text(encoding="utf-8")
    assert "-cpu\n" in calls
    assert "push" not in calls.splitlines()[-1]
    assert "flex-template" not in calls


def test_a_call_without_all_words_says_which(log: Path) -> None:
    done = build("my-project")
    assert done.returncode == 2
    assert "build.sh PROJECT REGION REPOSITORY gs://BUCKET" in done.stderr
    assert not log.exists()
