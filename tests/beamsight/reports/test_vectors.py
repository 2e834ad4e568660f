"""Samples, neighbours, the map and duplicates, on plain arrays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsight.reports import duplicates, parts, vectors
from beamsight.reports.vectors import Image, Sample
from transforms import vector_math
from transforms.inference.engine import Floats
from transforms.tables import schemas, writer


def image(number: int, content: int | None = None) -> Image:
    digest = hashlib.sha256(str(number if content is None else content).encode()).hexdigest()
    return Image(f"/photos/{number}.jpg", "1", digest)


def table(folder: Path, name: str, images: list[Image], rows: Floats) -> str:
    columns = {field: [getattr(each, field) for each in images] for field in ("uri", "version", "sha256")}
    columns |= {"recipe": ["m-1"] * len(images), "run_id": ["r"] * len(images)}
    uri = str(folder / f"{name}.parquet")
    writer.put(uri, schemas.to_arrow(columns | {"embedding": rows}, schemas.embeddings(rows.shape[1])), {"run_id": "r"})
    return uri


def test_a_sample_is_bounded_and_by_hash(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    images = [image(number) for number in range(10_000)]  # three row groups
    rows = random.normal(size=(len(images), 3)).astype(np.float32)
    uri = table(tmp_path, "one", images, rows)
    sample = vectors.sample([uri], limit=100)
    order = sorted(range(len(images)), key=lambda index: parts.rank(images[index].uri))[:100]
    assert sample.images == tuple(images[index] for index in order)
    np.testing.assert_array_equal(sample.vectors, rows[order])
    without = vectors.sample([uri], limit=100, with_vectors=False)
    assert without.images == sample.images
    assert without.vectors.shape == (100, 0)


def test_invalid_vectors() -> None:
    rows = np.random.RandomState(1).normal(size=(12, 8)).astype(np.float32)
    rows[0] = 0
    rows[1] = 3.5
    rows[2, 3] = np.nan
    rows[3, 0] = np.inf
    rows[5] = rows[4]  # different bytes, same vector
    rows[7] = rows[6]  # A copy correctly has the same vector.
    images = [image(number, 6 if number == 7 else None) for number in range(12)]
    found = vectors.health(Sample(tuple(images), rows))
    assert (found.not_finite, found.zero, found.constant, found.contents, found.same) == (2, 1, 1, 8, 1)
    assert found.median_cosine is not None
    assert abs(found.median_cosine) < 0.5
    alike = vectors.health(Sample(tuple(images), rows[8] + np.float32(0.01) * rows[[8, 9, 10, 11] * 3]))
    assert alike.median_cosine is not None
    assert alike.median_cosine > vectors.ALIKE
    empty = vectors.health(Sample((), np.zeros((0, 0), np.float32)))
    assert empty == vectors.Health(0, 0, 0, 0, 0, None)


@given(st.integers(0, 2**32 - 1), st.integers(3, 20), st.integers(1, 30))
def test_the_map_explains_the_most_variance_of_any_plane(seed: int, count: int, width: int) -> None:
    rows = np.random.RandomState(seed).normal(size=(count, width)).astype(np.float32)
    places, share = vectors.project(rows)
    centred = rows - rows.mean(axis=0)
    values = np.linalg.svd(centred.astype(np.float64), compute_uv=False) ** 2
    assert places.shape == (count, 2)
    assert share == pytest.approx(values[:2].sum() / values.sum(), abs=1e-6)
    assert (places**2).sum() == pytest.approx(values[:2].sum(), rel=1e-3)
    np.testing.assert_allclose(vectors.project(rows)[0], places)


@pytest.mark.parametrize("rows", [np.zeros((0, 0)), np.ones((2, 4)), np.ones((5, 4))])
def test_no_plane(rows: Floats) -> None:
    places, share = vectors.project(rows.astype(np.float32))
    assert not places.any()
    assert share == 0


def test_nearest_have_the_greatest_cosine() -> None:
    rows = np.random.RandomState(2).normal(size=(30, 5)).astype(np.float32)
    unit = vectors.unit_length(rows)
    cosines = vector_math.cosine_matrix(unit, unit)
    for index in range(30):
        by_hand = [float(rows[index] @ row / np.linalg.norm(rows[index]) / np.linalg.norm(row)) for row in rows]
        wanted = sorted((other for other in range(30) if other != index), key=lambda other: -by_hand[other])[:4]
        found = vectors.nearest(cosines, index, 4)
        assert [other for other, _ in found] == wanted
        assert [cosine for _, cosine in found] == pytest.approx([by_hand[other] for other in wanted], abs=1e-5)


def test_near_duplicates_are_grouped_without_exact_duplicates() -> None:
    rows = np.eye(8, dtype=np.float32)
    rows[1] = rows[0] + 0.1 * rows[1]  # close to row 0
    rows[2] = rows[1] + 0.1 * rows[2]  # close to row 1
    rows[4] = rows[3]  # the same bytes
    images = [image(number, 3 if number == 4 else None) for number in range(8)]
    unit = vectors.unit_length(rows)
    groups = duplicates.find_near(images, vector_math.cosine_matrix(unit, unit))
    assert [group.members for group in groups] == [(0, 1, 2)]
    assert groups[0].greatest == pytest.approx(0.995, abs=1e-3)


def test_exact_duplicates_are_found_across_files(tmp_path: Path) -> None:
    rows = np.zeros((4, 2), np.float32)
    one = table(tmp_path, "one", [image(0), image(1), image(2), image(3, 0)], rows)
    two = table(tmp_path, "two", [image(4, 0), image(5, 1), image(6), image(0)], rows)
    found = duplicates.find_exact([one, two])
    assert (found.images, found.copies) == (7, 3)  # Image 0 is in both files and counts once.
    assert [(group.count, group.uris) for group in found.groups] == [
        (3, ("/photos/0.jpg", "/photos/3.jpg", "/photos/4.jpg")),
        (2, ("/photos/1.jpg", "/photos/5.jpg")),
    ]
    assert duplicates.find_exact([]) == duplicates.ExactDuplicates(0, 0, ())
