"""Lengths and cosines of vectors, and how often two classifiers agree. Pure functions on NumPy arrays."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)


def unit_length(vectors: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Return vectors [N, D] scaled to L2 norm 1, in the same dtype.

    The computation is in float64, because the squares of float32 numbers can leave the range of float32. A zero vector
    stays zero, and a vector with NaN becomes NaN.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms != 0)


def cosines(reference: Floats, outputs: Floats) -> npt.NDArray[np.float64]:
    """Return the cosine of each row of one array with the same row of the other, float64[N], -1..1.

    Two zero vectors have cosine 1. A zero vector and another vector have cosine 0. NaN in a row gives NaN.

    Raises:
        ValueError: The two arrays differ in shape, or are empty.
    """
    require_same_shape(reference, outputs)
    left, right = (unit_length(rows.astype(np.float64)) for rows in (reference, outputs))
    result: npt.NDArray[np.float64] = np.einsum("nd,nd->n", left, right).clip(-1, 1)
    result[~reference.any(axis=1) & ~outputs.any(axis=1)] = 1
    return result


def cosine_matrix(left: npt.NDArray[_Float], right: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Return the cosines of each unit vector of ``left`` [N, D] with each of ``right`` [M, D], as [N, M], -1..1."""
    result: npt.NDArray[_Float] = np.clip(left @ right.T, -1, 1)
    return result


def top1_agreement(reference: Floats, outputs: Floats) -> float:
    """Return the share of rows [N, classes] whose largest score is at the same class, 0..1.

    Raises:
        ValueError: The two arrays differ in shape, or are empty.
    """
    require_same_shape(reference, outputs)
    return float((reference.argmax(axis=1) == outputs.argmax(axis=1)).mean())


def require_same_shape(reference: Floats, outputs: Floats) -> None:
    """Raise ValueError unless both arrays have the same shape [N, D] and N is at least 1."""
    if reference.shape != outputs.shape or reference.ndim != 2 or not len(reference):
        raise ValueError(f"outputs {list(outputs.shape)} do not match the reference's {list(reference.shape)}")
