from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import saved_models
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import EngineError, InferenceError, NonFinite, OutOfMemory, Refused, UsageError
from transforms.inference import engine, engines
from transforms.inference.engine import Floats, Pixels
from transforms.inference.spec import ModelSpec

SPEC = ModelSpec(name="tiny", task="embed", size=2, width=2, output="features")
CLASSIFIER = ModelSpec(name="tiny", task="classify", size=2, width=2, output="probabilities")
GREY = 128


class FakeEngine:
    """[shade, 2 x shade] for each picture; raises at the shades in ``refused``, and gives NaN at those in ``nan``."""

    batch = 4
    parallel = 1

    def __init__(
        self, refused: Iterable[int] = (), nan: Iterable[int] = (), error: type[EngineError] = EngineError
    ) -> None:
        self.refused, self.nan, self.error = set(refused), set(nan), error
        self.calls: list[list[int]] = []

    def infer(self, pixels: Pixels) -> Floats:
        shades = [int(picture[0, 0, 0]) for picture in pixels]
        self.calls.append(shades)
        if bad := self.refused.intersection(shades):
            raise self.error(f"shades {sorted(bad)} are bad")
        rows = [[np.nan if shade in self.nan else shade, 2 * shade] for shade in shades]
        return np.array(rows, np.float32)


def pictures(*shades: int) -> list[Pixels]:
    return [np.full((2, 2, 3), shade, np.uint8) for shade in shades]


def plain(results: list[Floats | InferenceError]) -> list[list[float] | str]:
    return [type(result).__name__ if isinstance(result, InferenceError) else result.tolist() for result in results]


def test_one_call_where_nothing_is_wrong() -> None:
    fake = FakeEngine()
    assert plain(engine.infer_each(fake, pictures(3, 1, 2), SPEC)) == [[3, 6], [1, 2], [2, 4]]
    assert fake.calls == [[3, 1, 2]]


def test_halving_finds_the_bad_one() -> None:
    fake = FakeEngine(refused=[6])
    results = engine.infer_each(fake, pictures(0, 1, 2, 3, 4, 5, 6, 7), SPEC)
    assert plain(results) == [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8], [5, 10], "Refused", [7, 14]]
    assert fake.calls == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [6], [GREY], [7]]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=17), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_exactly_the_bad_ones_and_in_order(shades: list[int], refused: set[int], nan: set[int]) -> None:
    expected = [
        "Refused" if shade in refused else "NonFinite" if shade in nan else [shade, 2 * shade] for shade in shades
    ]
    assert plain(engine.infer_each(FakeEngine(refused, nan), pictures(*shades), SPEC)) == expected


@pytest.mark.parametrize("spec", [SPEC, CLASSIFIER])
def test_the_message_for_a_refused_image(spec: ModelSpec) -> None:
    (error,) = engine.infer_each(FakeEngine(refused=[7]), pictures(7), spec)
    assert isinstance(error, Refused)
    assert str(error) == "tiny refuses this image: shades [7] are bad"
    assert (error.stage, error.retryable) == (spec.task, False)


@pytest.mark.parametrize("spec", [SPEC, CLASSIFIER])
def test_the_message_for_nan(spec: ModelSpec) -> None:
    fine, error = engine.infer_each(FakeEngine(nan=[7]), pictures(1, 7), spec)
    assert plain([fine]) == [[1, 2]]
    assert isinstance(error, NonFinite)
    assert str(error) == "tiny gives NaN or infinity for this image"
    assert (error.stage, error.retryable) == (spec.task, False)


def test_out_of_memory_is_transient() -> None:
    fine, error = engine.infer_each(FakeEngine(refused=[7], error=OutOfMemory), pictures(1, 7), SPEC)
    assert plain([fine]) == [[1, 2]]
    assert isinstance(error, Refused)
    assert error.retryable


@pytest.mark.parametrize("error", [EngineError, OutOfMemory])
def test_an_engine_that_cannot_do_grey_is_broken(error: type[EngineError]) -> None:
    fake = FakeEngine(refused=[2, GREY], error=error)
    with pytest.raises(error, match=r"shades \[128\] are bad"):
        engine.infer_each(fake, pictures(0, 1, 2, 3), SPEC)
    assert fake.calls == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [GREY]]


def test_an_engine_that_gives_nan_for_grey_is_broken() -> None:
    with pytest.raises(EngineError, match="tiny gives NaN or infinity even for a grey image; the model or the machine"):
        engine.infer_each(FakeEngine(nan=[2, GREY]), pictures(1, 2), SPEC)


def test_other_errors_are_bugs_and_are_raised() -> None:
    class Buggy(FakeEngine):
        def infer(self, pixels: Pixels) -> Floats:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.infer_each(Buggy(), pictures(1, 2), SPEC)


def test_load(tmp_path: Path) -> None:
    saved_models.save(tmp_path / "saved_model", saved_models.features, width=2)
    loaded = engines.load("tensorflow", tmp_path, SPEC, batch=3)
    (picture,) = pictures(255)
    np.testing.assert_allclose(
        loaded.infer(picture[None]), saved_models.expected(picture[None], saved_models.weights(2)), atol=1e-6
    )
    assert loaded.batch == 3


def test_load_of_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no engine 'abacus'; use one of tensorflow, openvino"):
        engines.load("abacus", tmp_path, SPEC)  # type: ignore[arg-type]
