"""From what a model puts out to what the tables hold. Pure functions on float32[N, D]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.inference.spec import Output

Floats = npt.NDArray[np.float32]

# A row of probabilities sums to 1 to this much, also when a model computes in bfloat16 (8 bits of mantissa).
SUM_TOLERANCE = 1e-2


def probabilities(outputs: Floats, kind: Output) -> Floats:
    """Outputs of a classifier [N, classes] -> probabilities [N, classes]; a softmax where it is still to be done."""
    if kind == "probabilities":
        return outputs
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def kind_of(outputs: Floats) -> Output:
    """Outputs of a classifier on a few pictures [N, classes] -> whether its softmax is done already.

    A second softmax would squash every score of a 1000-class model below 0.0027, and pages are wrong about it: so
    look. Rows that are >= 0 and sum to 1 are probabilities; logits that do so by chance do not occur.
    """
    sums = outputs.sum(axis=1)
    done = bool((outputs >= 0).all() and (np.abs(sums - 1) <= SUM_TOLERANCE).all())
    return "probabilities" if done else "logits"


def top_k(scores: Floats, k: int) -> npt.NDArray[np.int32]:
    """Scores [N, classes] -> the k best classes [N, min(k, classes)], best first; equal scores by class index."""
    k = min(k, scores.shape[1])
    if k < scores.shape[1]:
        # Everything at or above the k-th best score, so that ties at the border are broken by index too.
        border = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        scores = np.where(scores >= border, scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
