"""An embeddings table -> a sample of its vectors, who is near to whom in it, and what is wrong with them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamsight.reports import parts
from transforms.tables import reader

SAMPLE = 2048  # vectors; of B6, 19 MB, and 17 MB for the cosines of them all with each other
ALIKE = 0.95  # a median cosine above this tells of vectors that are nearly all the same

_IDENTITY, _VECTOR = ("uri", "version", "sha256"), "embedding"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a sample: what its row tells of it."""

    uri: str
    version: str
    sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is found by in another table."""
        return self.uri, self.version


_Row = tuple[bytes, Image, Floats]  # what orders the rows, and what they hold


@dataclass(frozen=True, slots=True)
class Sample:
    """Images and their vectors, float32[N, D], as they stand in the table; D = 0 where the table has none."""

    images: tuple[Image, ...]
    vectors: Floats


def sample(uris: Sequence[str], limit: int = SAMPLE, *, with_vectors: bool = True) -> Sample:
    """The first files of a table, until they hold ``limit`` rows -> so many of these, chosen by a hash of the URI.

    Memory: twice the sample and one row group, whatever the files hold.
    """
    columns = (*_IDENTITY, _VECTOR) if with_vectors else _IDENTITY
    kept: list[_Row] = []
    for uri in uris:
        if len(kept) >= limit:
            break
        found: list[_Row] = []
        for group in reader.row_groups(uri, columns):
            matrix = _matrix(group)
            names = zip(*(group[name].to_pylist() for name in _IDENTITY), strict=True)
            rows = [(parts.order(image[0]), Image(*image), vector) for image, vector in zip(names, matrix, strict=True)]
            chosen = heapq.nsmallest(limit - len(kept), [*found, *rows], key=_place)
            found = [(place, image, np.array(vector)) for place, image, vector in chosen]  # lets go of the row group
        kept += found
    kept = sorted({row[1].key: row for row in kept}.values(), key=_place)  # a row that stands there twice counts once
    vectors = np.stack([vector for _, _, vector in kept]) if kept else np.zeros((0, 0), np.float32)
    return Sample(tuple(image for _, image, _ in kept), vectors)


def _matrix(group: pa.Table) -> Floats:
    """float32[N, D], a view into the row group; D = 0 without vectors."""
    if _VECTOR not in group.column_names:
        return np.zeros((group.num_rows, 0), np.float32)
    column = group[_VECTOR].combine_chunks()
    made: Floats = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return made


def _place(row: _Row) -> tuple[bytes, str, str]:
    return row[0], row[1].uri, row[1].version


@dataclass(frozen=True, slots=True)
class Health:
    """How many of the vectors are not what a model gives for a picture. median_cosine: over all pairs, None for one.

    not_finite: with NaN or infinity in it; zero: all zeros; constant: one number throughout; same: those that equal the
    vector of an image with other bytes.
    """

    not_finite: int
    zero: int
    constant: int
    same: int
    median_cosine: float | None


def health(sampled: Sample) -> Health:
    """A sample -> what is wrong with it."""
    vectors = sampled.vectors
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    good = vectors[finite]
    zero = (good == 0).all(axis=1) if good.size else np.zeros(0, bool)
    constant = (good == good[:, :1]).all(axis=1) & ~zero if good.size else np.zeros(0, bool)
    by_vector: dict[bytes, set[str]] = {}
    members: dict[bytes, int] = {}
    for image, vector, usable in zip(sampled.images, vectors, finite, strict=True):
        if usable and vector.any():
            key = vector.tobytes()
            by_vector.setdefault(key, set()).add(image.sha256)
            members[key] = members.get(key, 0) + 1
    cosines = cosine(unit_length(vectors))
    above = cosines[np.triu_indices(len(cosines), 1)] if len(cosines) > 1 else np.zeros(0, np.float32)
    return Health(
        not_finite=int((~finite).sum()),
        zero=int(zero.sum()),
        constant=int(constant.sum()),
        same=sum(members[key] for key, contents in by_vector.items() if len(contents) > 1),
        median_cosine=float(np.median(above)) if above.size else None,
    )


def unit_length(vectors: Floats) -> Floats:
    """float32[N, D] -> the same directions at length 1; what is zero or not finite becomes zero, near to nothing."""
    finite = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0).astype(np.float32)
    norms = np.linalg.norm(finite, axis=1, keepdims=True)
    made: Floats = np.divide(finite, norms, out=np.zeros_like(finite), where=norms > 0)
    return made


def cosine(unit: Floats) -> Floats:
    """Unit vectors, float32[N, D] -> float32[N, N], -1..1."""
    made: Floats = np.clip(unit @ unit.T, -1, 1)
    return made


def nearest(cosines: Floats, index: int, count: int) -> list[tuple[int, float]]:
    """The ``count`` nearest to one of the sample, without itself -> (index, cosine), the nearest first."""
    order = np.argsort(-cosines[index], kind="stable")
    return [(int(other), float(cosines[index, other])) for other in order if other != index][:count]


def plane(unit: Floats) -> tuple[Floats, float]:
    """Unit vectors, float32[N, D] -> float32[N, 2], where they lie on their two main axes, and the variance's share.

    Principal components, by the eigenvectors of the smaller of the two products. The signs, which are free, are set so
    that the greatest value of an axis is positive. Fewer than 3 vectors span no plane: they lie at 0.
    """
    flat = np.zeros((len(unit), 2), np.float32)
    if len(unit) < 3:
        return flat, 0.0
    centred = (unit - unit.mean(axis=0)).astype(np.float64)
    wide = centred.shape[1] > len(centred)
    values, axes = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values = np.clip(values, 0, None)
    total = float(values.sum())
    if total < 1e-12:
        return flat, 0.0
    two = axes[:, ::-1][:, :2]
    found = two * np.sqrt(values[::-1][:2]) if wide else centred @ two
    found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    signs = np.sign(found[np.abs(found).argmax(axis=0), range(2)])
    return (found * np.where(signs == 0, 1, signs)).astype(np.float32), float(values[-2:].sum()) / total
