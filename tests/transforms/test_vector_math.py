from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms import vector_math

Floats = npt.NDArray[np.float32]
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(*rows: list[float]) -> Floats:
    return np.array(rows, np.float32)


@given(hnp.arrays(np.float32, SHAPES, elements=FINITE))
def test_unit_length(vectors: Floats) -> None:
    unit = vector_math.unit_length(vectors)
    assert unit.dtype == np.float32
    exact = vectors.astype(np.float64)
    for row, given_ in zip(unit, exact, strict=True):
        if not given_.any():
            np.testing.assert_array_equal(row, 0)
        else:
            np.testing.assert_allclose(np.linalg.norm(row.astype(np.float64)), 1, atol=1e-6)
            np.testing.assert_allclose(row, given_ / np.linalg.norm(given_), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])  # whose squares are no float32
def test_unit_length_of_known_numbers(scale: float) -> None:
    vectors = np.array([[3, 4], [0, 0], [0, -2]], np.float32) * np.float32(scale)
    np.testing.assert_allclose(vector_math.unit_length(vectors), [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]], rtol=1e-6)


def test_top1_agreement() -> None:
    reference = floats([0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [1, 0, 0])
    outputs = floats([0.6, 0.3, 0.1], [0.1, 0.4, 0.5], [0.3, 0.2, 0.5], [1, 0, 0])
    assert vector_math.top1_agreement(reference, outputs) == 0.75
    assert vector_math.top1_agreement(reference, reference) == 1


def test_cosines() -> None:
    reference = floats([3, 4], [1, 0], [1, 0], [0, 0], [0, 0], [2, 0])
    outputs = floats([4, 3], [0, 9], [-5, 0], [0, 0], [1, 0], [8, 0])
    np.testing.assert_allclose(vector_math.cosines(reference, outputs), [0.96, 0, -1, 1, 0, 1], atol=1e-15)


def test_a_vector_with_nan_agrees_with_nothing() -> None:
    found = vector_math.cosines(floats([1, 0], [1, 0]), floats([float("nan"), 1], [1, 0]))
    assert np.isnan(found[0])
    assert found[1] == 1


def test_cosines_of_vectors_whose_squares_leave_the_range_of_float32() -> None:
    assert vector_math.cosines(floats([1e30, 1e30]), floats([1e-30, 1e-30]))[0] == pytest.approx(1, abs=1e-15)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 30), scale=st.floats(0.001, 1000))
def test_lengths_do_not_count(seed: int, count: int, scale: float) -> None:
    vectors = np.random.RandomState(seed).normal(size=(count, 5)).astype(np.float32)
    longer = vectors * np.float32(scale)
    assert vector_math.cosines(vectors, longer).min() == pytest.approx(1, abs=1e-6)


def test_cosine_matrix() -> None:
    unit = floats([0.6, 0.8], [1, 0], [0, 0])
    np.testing.assert_allclose(
        vector_math.cosine_matrix(unit, unit), [[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-7
    )
    assert vector_math.cosine_matrix(unit[:1], unit).shape == (1, 3)


@pytest.mark.parametrize("measure", [vector_math.top1_agreement, vector_math.cosines])
def test_outputs_of_other_images_are_a_bug(measure: object) -> None:
    rows = np.ones((3, 4), np.float32)
    for other in (rows[:2], rows[:, :2], rows[0]):
        with pytest.raises(ValueError, match="do not match"):
            measure(rows, other)  # type: ignore[operator]
    with pytest.raises(ValueError, match="do not match"):
        measure(rows[:0], rows[:0])  # type: ignore[operator]
