"""Sums over a predictions table: images by class, and a histogram of the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beamsight.reports import parts
from transforms.prefetch import prefetch
from transforms.tables import reader

BINS = 20  # bins of the score histogram, from 0 to 1

_LIGHT = ("uri", "version", "class_id", "label", "score")

Key = tuple[str, str]  # URI and version


@dataclass(frozen=True, slots=True)
class TopClass:
    """One of the k best classes of an image, and its score, 0..1."""

    class_id: int
    label: str
    score: float


@dataclass(slots=True)
class Tally:
    """Sums over predictions.

    Attributes:
        total: Sum of the best scores.
        scores: int64[BINS], a histogram of the best scores.
        classes: Images by class ID.
        labels: Labels by class ID.
        best: The k best classes of the requested images.
    """

    rows: int = 0
    total: float = 0.0
    scores: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    classes: Counter[int] = field(default_factory=Counter)
    labels: dict[int, str] = field(default_factory=dict)
    best: dict[Key, tuple[TopClass, ...]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add the sums of another tally to this one."""
        self.rows += other.rows
        self.total += other.total
        self.scores += other.scores
        self.classes.update(other.classes)
        self.labels.update(other.labels)
        self.best.update(other.best)

    @property
    def mean(self) -> float | None:
        """Mean of the best scores, 0..1; None without rows."""
        return self.total / self.rows if self.rows else None

    def share(self, class_id: int) -> float:
        """Return the share of the images with this class, 0..1."""
        return self.classes[class_id] / self.rows if self.rows else 0.0


def tally(uris: Sequence[str], wanted: Sequence[Key] = ()) -> Tally:
    """Add up the files of a predictions table. wanted: images whose k best classes are returned too."""
    asked = _Wanted(frozenset(wanted), pa.array(sorted({uri for uri, _ in wanted}), pa.string()))
    result = Tally()
    for part in prefetch(uris, partial(_tally, wanted=asked), threads=parts.THREADS, window=2 * parts.THREADS):
        result.add(part)
    return result


@dataclass(frozen=True, slots=True)
class _Wanted:
    keys: frozenset[Key]
    uris: pa.Array


def _tally(uri: str, wanted: _Wanted) -> Tally:
    table = reader.read(uri, _LIGHT)
    scores = np.asarray(table["score"].to_numpy(), np.float64)
    ids = table["class_id"].to_numpy()
    unique, first, counts = np.unique(ids, return_index=True, return_counts=True)
    labels = table["label"].take(pa.array(first)).to_pylist()
    best = {}
    if pc.any(pc.is_in(table["uri"], value_set=wanted.uris)).as_py():
        best = _best(reader.read(uri, ("uri", "version", "top_k")), wanted)
    return Tally(
        rows=table.num_rows,
        total=float(scores.sum()),
        scores=np.bincount(np.clip((scores * BINS).astype(np.int64), 0, BINS - 1), minlength=BINS),
        classes=Counter(dict(zip(unique.tolist(), counts.tolist(), strict=True))),
        labels=dict(zip(unique.tolist(), labels, strict=True)),
        best=best,
    )


def _best(table: pa.Table, wanted: _Wanted) -> dict[Key, tuple[TopClass, ...]]:
    rows: list[Mapping[str, Any]] = table.filter(pc.is_in(table["uri"], value_set=wanted.uris)).to_pylist()
    best = {}
    for row in rows:
        key = row["uri"], row["version"]
        if key in wanted.keys:
            best[key] = tuple(TopClass(top["class_id"], top["label"], top["score"]) for top in row["top_k"])
    return best
