"""Models that are compiled once and then read from the disk."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import irs
import numpy as np
import pytest

from beamsight.models import conversion
from transforms.inference import compiled, libraries
from transforms.inference.openvino_engine import OpenVINOEngine
from transforms.inference.spec import ModelSpec, Precision

TINY = ModelSpec(name="tiny", task="classify", size=12, width=5, output="logits")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3)).astype(np.uint8)


class CountingCore:
    """OpenVINO's core, and the number of models that it compiled."""

    def __init__(self) -> None:
        self.compiled = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(libraries.core(), name)

    def compile_model(self, *arguments: Any) -> Any:
        self.compiled += 1
        return libraries.core().compile_model(*arguments)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingCore:
    core = CountingCore()
    monkeypatch.setattr(compiled, "core", lambda: core)
    return core


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "f32.xml"
    conversion.from_ir(irs.save(tmp_path / "own.xml", TINY), TINY, path)
    return path


def load(model: Path, precision: Precision = "f32", **options: int) -> OpenVINOEngine:
    return OpenVINOEngine(model, TINY, precision, **options)


def test_a_model_is_compiled_once_and_gives_the_same_answers(model: Path, cache: Path, counting: CountingCore) -> None:
    first = load(model).infer(PIXELS)
    (file,) = cache.iterdir()
    assert file.stat().st_size < 1_000_000
    second = load(model)
    assert counting.compiled == 1
    np.testing.assert_array_equal(second.infer(PIXELS), first)


def test_other_settings_are_compiled_apart(model: Path, cache: Path, counting: CountingCore) -> None:
    for options in ({}, {"threads": 1}, {"precision": "bf16"}):
        load(model, **options)
    assert counting.compiled == len(list(cache.iterdir())) == 3


def test_changed_weights_are_compiled_again(model: Path, cache: Path, counting: CountingCore) -> None:
    before = load(model).infer(PIXELS)
    weights, values = model.with_suffix(".bin"), irs.weights(TINY.width)
    data = weights.read_bytes()
    assert values.tobytes() in data
    weights.write_bytes(data.replace(values.tobytes(), (2 * values).tobytes()))
    after = load(model).infer(PIXELS)
    assert counting.compiled == len(list(cache.iterdir())) == 2
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


@pytest.mark.parametrize("keep", [0, 10, -1], ids=["empty", "cut at the start", "cut at the end"])
def test_a_damaged_file_is_replaced(model: Path, cache: Path, counting: CountingCore, keep: int) -> None:
    load(model)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    load(model)
    assert counting.compiled == 2
    assert len(file.read_bytes()) == len(whole)
    load(model)
    assert counting.compiled == 2


def test_layers_that_openvino_refuses_are_compiled_again(model: Path, cache: Path, counting: CountingCore) -> None:
    load(model)
    (file,) = cache.iterdir()
    compiled._write(file, b"not the layers of a model")
    assert np.isfinite(load(model).infer(PIXELS)).all()
    assert counting.compiled == 2


def test_files_that_were_not_used_for_long_are_deleted(
    model: Path, cache: Path, counting: CountingCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(model)
    (used,) = cache.iterdir()
    load(model, threads=1)
    (unused,) = set(cache.iterdir()) - {used}
    for file in (used, unused):
        os.utime(file, (1, 1))
    load(model)  # is used now
    monkeypatch.setattr(compiled, "MAX_BYTES", used.stat().st_size * 5 // 2)
    load(model, precision="bf16")
    assert counting.compiled == 3
    assert len(list(cache.iterdir())) == 2
    assert used.exists()
    assert not unused.exists()


def test_a_user_without_a_home_folder(model: Path, monkeypatch: pytest.MonkeyPatch, counting: CountingCore) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    for name in ("BEAMSIGHT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for _ in range(2):
        assert np.isfinite(load(model).infer(PIXELS)).all()
    assert counting.compiled == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: CountingCore
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert np.isfinite(load(model).infer(PIXELS)).all()
    assert counting.compiled == 2
