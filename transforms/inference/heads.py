"""Convert the outputs of a model to the values in the tables. Pure functions on float32[N, D]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.inference.spec import Output

Floats = npt.NDArray[np.float32]

# Tolerance for the sum of a row of probabilities. It allows for bfloat16, which has 8 bits of mantissa.
SUM_TOLERANCE = 1e-2


def probabilities(outputs: Floats, kind: Output) -> Floats:
    """Return probabilities [N, classes] for the outputs [N, classes] of a classifier. Logits get a softmax."""
    if kind == "probabilities":
        return outputs
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def kind_of(outputs: Floats) -> Output:
    """Return whether the outputs [N, classes] of a classifier are probabilities or logits.

    The documentation of models is often wrong about this, and a second softmax would reduce every score of a
    1000-class model below 0.0027. Rows that are >= 0 and sum to 1 are probabilities. Logits do not do so by chance.
    """
    sums = outputs.sum(axis=1)
    done = bool((outputs >= 0).all() and (np.abs(sums - 1) <= SUM_TOLERANCE).all())
    return "probabilities" if done else "logits"


def top_k(scores: Floats, k: int) -> npt.NDArray[np.int32]:
    """Return the k best classes [N, min(k, classes)], best first. Equal scores are ordered by class index."""
    k = min(k, scores.shape[1])
    if k < scores.shape[1]:
        # Keep all scores at or above the k-th best, so that ties at the border are ordered by index too.
        border = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        scores = np.where(scores >= border, scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
