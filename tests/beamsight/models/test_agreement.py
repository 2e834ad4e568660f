from __future__ import annotations

import numpy as np
import pytest

from beamsight.models import agreement
from transforms.inference.engine import Floats


def floats(*rows: list[float]) -> Floats:
    return np.array(rows, np.float32)


def unit(*degrees: float) -> Floats:
    """Return vectors in the plane. Their nearest neighbours are the ones with the nearest angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_score_drift_is_of_the_best_score_whichever_class_has_it() -> None:
    reference = floats([0.75, 0.25], [0.5, 0.5], [0.25, 0.75])
    outputs = floats([0.5, 0.5], [0.5, 0.5], [0.875, 0.125])
    assert agreement.score_drift(reference, outputs) == agreement.Drift(mean=0.125, largest=0.25)
    assert agreement.score_drift(outputs, reference) == agreement.Drift(mean=0.125, largest=0.25)
    assert agreement.score_drift(reference, reference) == (0, 0)


def test_neighbours_kept() -> None:
    reference = unit(0, 10, 25, 60)
    assert agreement.neighbours_kept(reference, reference, k=1) == 1
    moved = unit(0, 10, 19, 60)  # The nearest neighbour of the second vector is now the third, no longer the first.
    assert agreement.neighbours_kept(reference, moved, k=1) == 0.75
    assert agreement.neighbours_kept(reference, moved, k=2) == 1


def test_an_image_is_not_its_own_neighbour() -> None:
    reference, moved = unit(0, 10, 40), unit(0, 80, 40)
    assert agreement.neighbours_kept(reference, moved, k=1) == pytest.approx(1 / 3)
    assert agreement.neighbours_kept(reference, moved) == 1, "of two others, both are among the ten nearest"


def test_equal_images_are_neighbours_in_order() -> None:
    vectors = np.repeat(np.random.RandomState(0).normal(size=(1, 7)).astype(np.float32), 30, axis=0)
    assert agreement.neighbours_kept(vectors, vectors * np.float32(1.1)) == 1


def test_many_vectors_give_the_same_as_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    reference = random.normal(size=(50, 6)).astype(np.float32)
    moved = reference + random.normal(size=(50, 6)).astype(np.float32) / np.float32(4)
    at_once = agreement.neighbours_kept(reference, moved)
    monkeypatch.setattr(agreement, "_ROWS", 7)
    assert agreement.neighbours_kept(reference, moved) == at_once
    assert 0.5 < at_once < 1


@pytest.mark.parametrize(
    "measure",
    [agreement.score_drift, agreement.neighbours_kept],
)
def test_outputs_of_other_images_are_a_bug(measure: object) -> None:
    rows = np.ones((3, 4), np.float32)
    for other in (rows[:2], rows[:, :2], rows[0]):
        with pytest.raises(ValueError, match="do not match"):
            measure(rows, other)  # type: ignore[operator]
    with pytest.raises(ValueError, match="do not match"):
        measure(rows[:0], rows[:0])  # type: ignore[operator]


def test_one_vector_has_no_neighbours() -> None:
    with pytest.raises(ValueError, match="1 vectors have no neighbours"):
        agreement.neighbours_kept(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
