"""Outputs of two engines for the same pictures, float32[N, D] each, row by row -> how far they agree. Pure functions.

The first is the reference. Rows in different order or of different width are a bug, and raise ValueError.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.inference.engine import Floats

NEIGHBOURS = 10

_ROWS = 1024  # of similarities held at once: with 100,000 pictures 0.8 GB


class Drift(NamedTuple):
    """Absolute differences of a number that two engines give for each picture."""

    mean: float
    largest: float


def top1_agreement(reference: Floats, outputs: Floats) -> float:
    """Scores [N, classes] -> the share of the pictures whose best class is the same, 0..1. N >= 1."""
    _require_same_shape(reference, outputs)
    return float((reference.argmax(axis=1) == outputs.argmax(axis=1)).mean())


def score_drift(reference: Floats, outputs: Floats) -> Drift:
    """Probabilities [N, classes] -> how far the best class's score moves, whichever class that is. N >= 1."""
    _require_same_shape(reference, outputs)
    moved = np.abs(reference.max(axis=1).astype(np.float64) - outputs.max(axis=1))
    return Drift(float(moved.mean()), float(moved.max()))


def cosines(reference: Floats, outputs: Floats) -> npt.NDArray[np.float64]:
    """Vectors [N, D] -> the cosine of the two of each picture, float64[N], -1..1.

    Two zero vectors agree (1), a zero vector and another do not (0).
    """
    _require_same_shape(reference, outputs)
    found: npt.NDArray[np.float64] = np.einsum("nd,nd->n", _directions(reference), _directions(outputs)).clip(-1, 1)
    found[~reference.any(axis=1) & ~outputs.any(axis=1)] = 1
    return found


def neighbours_kept(reference: Floats, outputs: Floats, k: int = NEIGHBOURS) -> float:
    """Vectors [N, D] -> the mean share of each picture's k nearest others, by cosine, that are the same, 0..1.

    Of less than k others all are nearest. Of equally near ones the first count. N >= 2.
    """
    _require_same_shape(reference, outputs)
    if len(reference) < 2:
        raise ValueError(f"{len(reference)} vectors have no neighbours; give 2 or more")
    k = min(k, len(reference) - 1)
    before, after = _directions(reference), _directions(outputs)
    kept = 0
    for start in range(0, len(reference), _ROWS):
        rows = slice(start, start + _ROWS)
        for near, near_now in zip(_nearest(before, rows, k), _nearest(after, rows, k), strict=True):
            kept += len(np.intersect1d(near, near_now, assume_unique=True))
    return kept / (k * len(reference))


def _nearest(directions: npt.NDArray[np.float64], rows: slice, k: int) -> npt.NDArray[np.intp]:
    """Unit vectors [N, D] -> for some of them the indices of the k nearest others, [rows, k]."""
    similar = directions[rows] @ directions.T
    here = np.arange(len(similar))
    similar[here, here + rows.start] = -np.inf  # itself
    # Vectors that are equal differ in the last digits of their products, by which no order is meant.
    found: npt.NDArray[np.intp] = np.argsort(-similar.round(12), axis=1, kind="stable")[:, :k]
    return found


def _directions(vectors: Floats) -> npt.NDArray[np.float64]:
    """Vectors [N, D] -> the same with length 1, float64; a zero vector stays zero, and NaN stays NaN."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths != 0)


def _require_same_shape(reference: Floats, outputs: Floats) -> None:
    if reference.shape != outputs.shape or reference.ndim != 2 or not len(reference):
        raise ValueError(f"outputs {list(outputs.shape)} do not match the reference's {list(reference.shape)}")
