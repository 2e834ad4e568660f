from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms.inference import heads

Floats = npt.NDArray[np.float32]
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def matrices(elements: st.SearchStrategy[Any] = FINITE) -> st.SearchStrategy[Floats]:
    return hnp.arrays(np.float32, SHAPES, elements=elements)


@given(matrices(st.floats(-1e4, 1e4, width=32)))
def test_softmax_rows_are_probabilities_in_the_same_order(logits: Floats) -> None:
    scores = heads.probabilities(logits, "logits")
    assert scores.dtype == np.float32
    assert scores.shape == logits.shape
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    for row, score in zip(logits, scores, strict=True):
        assert (np.diff(score[np.argsort(row)]) >= 0).all()


def test_softmax_of_known_numbers() -> None:
    logits = np.log(np.array([[1, 2, 7], [4, 4, 2]], np.float32))
    expected = np.array([[0.1, 0.2, 0.7], [0.4, 0.4, 0.2]], np.float32)
    np.testing.assert_allclose(heads.probabilities(logits, "logits"), expected, rtol=1e-6)
    np.testing.assert_allclose(heads.probabilities(logits + np.float32(1e4), "logits"), expected, rtol=5e-3)


def test_there_is_never_a_second_softmax() -> None:
    done = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert heads.probabilities(done, "probabilities") is done


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], "probabilities"),
        ([[1.0, 0.0], [0.0, 1.0]], "probabilities"),
        ([[0.903, 0.102], [0.2, 0.795]], "probabilities"),  # as bfloat16 leaves them
        ([[0.9, 0.1], [0.2, 0.9]], "logits"),  # one row is enough
        ([[1.5, -0.5], [0.2, 0.8]], "logits"),  # sums to 1, but is negative
        ([[3.0, -4.0], [0.1, 2.0]], "logits"),
        ([[0.0, 0.0], [0.0, 0.0]], "logits"),
    ],
)
def test_kind_of(rows: list[list[float]], kind: str) -> None:
    assert heads.kind_of(np.array(rows, np.float32)) == kind


@given(matrices(st.floats(-50, 50, width=32)))
def test_what_a_softmax_gives_is_known_as_probabilities(logits: Floats) -> None:
    assert heads.kind_of(heads.probabilities(logits, "logits")) == "probabilities"


@given(
    matrices(st.one_of(FINITE, st.sampled_from([0.0, -0.0, 0.5, 1.0, -np.inf]))),  # mostly ties
    st.integers(1, 15),
)
def test_top_k_is_numpys_stable_order(scores: Floats, k: int) -> None:
    best = heads.top_k(scores, k)
    assert best.dtype == np.int32
    np.testing.assert_array_equal(best, np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_top_k_of_equal_scores_is_by_class() -> None:
    scores = np.array([[0.1, 0.3, 0.3, 0.3], [0.25] * 4], np.float32)
    np.testing.assert_array_equal(heads.top_k(scores, 2), [[1, 2], [0, 1]])


def test_top_k_of_fewer_classes_is_all_of_them() -> None:
    np.testing.assert_array_equal(heads.top_k(np.array([[0.2, 0.8]], np.float32), 5), [[1, 0]])
