"""How far the outputs of two engines for the same images differ. Pure functions on float32[N, D], row by row.

The first argument is the reference. Arrays of different shape are a bug in the caller and raise ValueError.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms import vector_math
from transforms.inference.engine import Floats

NEIGHBOURS = 10

_ROWS = 1024  # rows of the cosine matrix in memory at once: 0.8 GB for 100,000 images


class Drift(NamedTuple):
    """Absolute differences between the numbers that two engines give for each image."""

    mean: float
    largest: float


def score_drift(reference: Floats, outputs: Floats) -> Drift:
    """Return how far the best class's score moves, for probabilities [N, classes]. The best class may change."""
    vector_math.require_same_shape(reference, outputs)
    differences = np.abs(reference.max(axis=1).astype(np.float64) - outputs.max(axis=1))
    return Drift(float(differences.mean()), float(differences.max()))


def neighbours_kept(reference: Floats, outputs: Floats, k: int = NEIGHBOURS) -> float:
    """Return the mean share of each image's k nearest neighbours that stay the same, 0..1.

    Args:
        reference: Vectors [N, D], N >= 2.
        outputs: Vectors of the same images.
        k: Number of neighbours by cosine. Where an image has fewer neighbours, all of them count. Of neighbours that
            are equally near, the first ones count.
    """
    vector_math.require_same_shape(reference, outputs)
    if len(reference) < 2:
        raise ValueError(f"{len(reference)} vectors have no neighbours; give 2 or more")
    k = min(k, len(reference) - 1)
    before, after = (vector_math.unit_length(rows.astype(np.float64)) for rows in (reference, outputs))
    kept = 0
    for start in range(0, len(reference), _ROWS):
        rows = slice(start, start + _ROWS)
        for neighbours, new_neighbours in zip(_nearest(before, rows, k), _nearest(after, rows, k), strict=True):
            kept += len(np.intersect1d(neighbours, new_neighbours, assume_unique=True))
    return kept / (k * len(reference))


def _nearest(units: npt.NDArray[np.float64], rows: slice, k: int) -> npt.NDArray[np.intp]:
    """Return the indices of the k nearest neighbours of some of the unit vectors [N, D], as [rows, k]."""
    cosines = vector_math.cosine_matrix(units[rows], units)
    row = np.arange(len(cosines))
    cosines[row, row + rows.start] = -np.inf  # An image is not its own neighbour.
    # The cosines of equal vectors can differ in the last digits. Rounding keeps such neighbours in their order.
    order: npt.NDArray[np.intp] = np.argsort(-cosines.round(12), axis=1, kind="stable")
    return order[:, :k]
