"""Outputs -> rows: classes, top k, and the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from transforms.imaging.prepare import Prepared
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.records import ImageRef, Work
from transforms.tables.rows import TableRows

SPEC = ModelSpec(name="m", task="classify", size=8, width=4, output="logits")
LABELS = (Label("n1", "one"), Label("n2", "two"), Label(None, "three"), Label("n4", "four"))


def image(uri: str) -> Prepared:
    return Prepared(Work(ImageRef(uri), ()), "v", "s", 20, 10, {}, Counter())


def test_logits_become_probabilities_and_the_best_classes() -> None:
    rows = TableRows(Recipe(SPEC, "", "h", "", top_k=2), LABELS)
    rows.add(image("b"), np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32)))
    rows.add(image("a"), np.log(np.array([0.7, 0.1, 0.1, 0.1], np.float32)))
    first, second = rows.to_arrow("r1").to_pylist()
    assert (first["uri"], first["class_id"], first["wnid"], first["label"]) == ("a", 0, "n1", "one")
    assert first["score"] == pytest.approx(0.7)
    assert [each["class_id"] for each in first["top_k"]] == [0, 1]  # of equal scores, the first
    assert (second["uri"], second["width"], second["height"]) == ("b", 20, 10)
    assert [(each["wnid"], each["label"]) for each in second["top_k"]] == [("n4", "four"), (None, "three")]
    assert [each["score"] for each in second["top_k"]] == pytest.approx([0.4, 0.3])
    assert "probabilities" not in first
    assert {(each["recipe"], each["run_id"]) for each in (first, second)} == {(rows.recipe.folder, "r1")}


def test_all_probabilities_on_request() -> None:
    rows = TableRows(Recipe(SPEC, "", "h", "", probabilities=True), LABELS)
    rows.add(image("a"), np.zeros(4, np.float32))
    (row,) = rows.to_arrow("r1").to_pylist()
    assert row["probabilities"] == [0.25] * 4
    assert len(row["top_k"]) == 4  # no more than there are


@pytest.mark.parametrize(("normalize", "expected"), [(False, [3, 4]), (True, [0.6, 0.8])])
def test_vectors(normalize: bool, expected: list[float]) -> None:
    spec = ModelSpec(name="m", task="embed", size=8, width=2, output="features")
    recipe = Recipe(spec, "", "h", "", normalize=normalize)
    rows = TableRows(recipe, ())
    rows.add(image("a"), np.array([3, 4], np.float32))
    assert rows.to_arrow("r1").to_pylist() == [
        {
            "uri": "a",
            "version": "v",
            "sha256": "s",
            "embedding": pytest.approx(expected),
            "recipe": recipe.folder,
            "run_id": "r1",
        }
    ]


def test_no_rows() -> None:
    rows = TableRows(Recipe(SPEC, "", "h", ""), LABELS)
    assert (len(rows), rows.to_arrow("r1").num_rows) == (0, 0)
