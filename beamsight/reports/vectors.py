"""A sample of an embeddings table: nearest neighbours, a two-dimensional map, and checks for invalid vectors."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamsight.reports import parts
from transforms import vector_math
from transforms.tables import reader

SAMPLE = 2048  # vectors. For B6, they take 19 MB, and all their cosines 17 MB.
ALIKE = 0.95  # Above this median cosine, the vectors are nearly identical.

_IDENTITY, _VECTOR = ("uri", "version", "sha256"), "embedding"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Image:
    """The identity of an image in a table."""

    uri: str
    version: str
    sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """URI and version, which identify the image in other tables."""
        return self.uri, self.version


_Row = tuple[bytes, Image, Floats]  # rank, image, vector


@dataclass(frozen=True, slots=True)
class Sample:
    """Images and their vectors, float32[N, D]. D is 0 for a table without vectors."""

    images: tuple[Image, ...]
    vectors: Floats


def sample(uris: Sequence[str], limit: int = SAMPLE, *, with_vectors: bool = True) -> Sample:
    """Return ``limit`` rows from the first files of a table, chosen by a hash of the URI.

    Needs memory for twice the sample and one row group, whatever the size of the files.
    """
    columns = (*_IDENTITY, _VECTOR) if with_vectors else _IDENTITY
    kept: list[_Row] = []
    for uri in uris:
        if len(kept) >= limit:
            break
        best: list[_Row] = []
        for group in reader.row_groups(uri, columns):
            matrix = _matrix(group)
            names = zip(*(group[name].to_pylist() for name in _IDENTITY), strict=True)
            rows = [(parts.rank(image[0]), Image(*image), vector) for image, vector in zip(names, matrix, strict=True)]
            chosen = heapq.nsmallest(limit - len(kept), [*best, *rows], key=_sort_key)
            best = [(rank, image, np.array(vector)) for rank, image, vector in chosen]  # copies free the row group
        kept += best
    kept = sorted({row[1].key: row for row in kept}.values(), key=_sort_key)  # without repeated rows
    vectors = np.stack([vector for _, _, vector in kept]) if kept else np.zeros((0, 0), np.float32)
    return Sample(tuple(image for _, image, _ in kept), vectors)


def _matrix(group: pa.Table) -> Floats:
    """Return float32[N, D], a view into the row group. D is 0 without vectors."""
    if _VECTOR not in group.column_names:
        return np.zeros((group.num_rows, 0), np.float32)
    column = group[_VECTOR].combine_chunks()
    matrix: Floats = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix


def _sort_key(row: _Row) -> tuple[bytes, str, str]:
    return row[0], row[1].uri, row[1].version


@dataclass(frozen=True, slots=True)
class Health:
    """Counts of invalid vectors in a sample.

    Attributes:
        not_finite: Vectors with NaN or infinity.
        zero: Vectors of zeros.
        constant: Vectors that repeat one other value.
        contents: Images with different bytes and a valid vector.
        same: How many of these repeat the vector of another one. Copies do, such as a photo without its EXIF data.
        median_cosine: Median over all pairs, -1..1; None for fewer than 2 vectors.
    """

    not_finite: int
    zero: int
    constant: int
    contents: int
    same: int
    median_cosine: float | None


def health(sampled: Sample) -> Health:
    """Check the vectors of a sample."""
    vectors = sampled.vectors
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    good = vectors[finite]
    zero = (good == 0).all(axis=1) if good.size else np.zeros(0, bool)
    constant = (good == good[:, :1]).all(axis=1) & ~zero if good.size else np.zeros(0, bool)
    valid = {
        image.sha256: vector.tobytes()
        for image, vector, usable in zip(sampled.images, vectors, finite, strict=True)
        if usable and vector.any()
    }
    unit = unit_length(vectors)
    cosines = vector_math.cosine_matrix(unit, unit)
    above = cosines[np.triu_indices(len(cosines), 1)] if len(cosines) > 1 else np.zeros(0, np.float32)
    return Health(
        not_finite=int((~finite).sum()),
        zero=int(zero.sum()),
        constant=int(constant.sum()),
        contents=len(valid),
        same=len(valid) - len(set(valid.values())),
        median_cosine=float(np.median(above)) if above.size else None,
    )


def unit_length(vectors: Floats) -> Floats:
    """Scale vectors, float32[N, D], to length 1. A vector that is zero or not finite becomes zero."""
    finite = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0).astype(np.float32)
    return vector_math.unit_length(finite)


def nearest(cosines: Floats, index: int, count: int) -> list[tuple[int, float]]:
    """Return the index and cosine of the ``count`` nearest other images, the nearest first."""
    order = np.argsort(-cosines[index], kind="stable")
    return [(int(other), float(cosines[index, other])) for other in order if other != index][:count]


def project(unit: Floats) -> tuple[Floats, float]:
    """Project unit vectors to two dimensions by principal component analysis.

    The eigenvectors come from the smaller of the two Gram matrices. The sign of an axis is arbitrary; here its largest
    absolute value is positive, so that each run gives the same map.

    Args:
        unit: float32[N, D].

    Returns:
        Positions, float32[N, 2], and the share of the variance that they explain, 0..1. All are 0 for fewer than 3
        vectors, which span no plane.
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
    places = two * np.sqrt(values[::-1][:2]) if wide else centred @ two
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    signs = np.sign(places[np.abs(places).argmax(axis=0), range(2)])
    return (places * np.where(signs == 0, 1, signs)).astype(np.float32), float(values[-2:].sum()) / total
