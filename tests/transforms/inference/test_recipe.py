from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from transforms.errors import UsageError
from transforms.inference import recipe as recipes
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec

CLASSIFIER = ModelSpec(name="birds", task="classify", size=320, width=5, output="logits")
EMBEDDER = ModelSpec(name="birds", task="embed", size=320, width=8, output="features")
CLASSIFY = Recipe(CLASSIFIER, "/bundles/birds", "a" * 64, "gs://models/birds")
EMBED = Recipe(EMBEDDER, "/bundles/birds", "b" * 64, "gs://models/birds")


def test_the_digest_never_changes() -> None:
    """Else every table that there is would be made again."""
    assert CLASSIFY.digest == "c55d96d9"
    assert EMBED.digest == "ed2eeab8"


def test_tables() -> None:
    assert CLASSIFY.table == f"predictions/model=birds-{CLASSIFY.digest}"
    assert EMBED.table == f"embeddings/model=birds-{EMBED.digest}"


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": "gs://elsewhere/birds"},
        {"source": "/home/birds"},
        {"normalize": True},  # of an embedder
        {"spec": replace(CLASSIFIER, name="more-birds")},
        {"spec": replace(CLASSIFIER, source="https://tfhub.dev/birds")},
    ],
)
def test_options_that_change_no_row_do_not_change_the_digest(changes: dict[str, Any]) -> None:
    assert replace(CLASSIFY, **changes).digest == CLASSIFY.digest


def test_the_heads_of_a_classifier_change_no_vectors() -> None:
    assert replace(EMBED, top_k=9, probabilities=True).digest == EMBED.digest


def test_options_that_change_rows_change_the_digest() -> None:
    different = [
        CLASSIFY,
        EMBED,
        replace(EMBED, normalize=True),
        replace(CLASSIFY, content_hash="c" * 64),
        replace(CLASSIFY, top_k=6),
        replace(CLASSIFY, probabilities=True),
        replace(CLASSIFY, spec=replace(CLASSIFIER, size=321)),
        replace(CLASSIFY, spec=replace(CLASSIFIER, crop="pad")),
        replace(CLASSIFY, spec=replace(CLASSIFIER, resizer="simd")),
        replace(CLASSIFY, spec=replace(CLASSIFIER, channel_order="bgr")),
        replace(CLASSIFY, spec=replace(CLASSIFIER, value_range=(-1.0, 1.0))),
        replace(CLASSIFY, spec=replace(CLASSIFIER, output="probabilities")),
    ]
    assert len({recipe.digest for recipe in different}) == len(different)


def test_other_pixels_are_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CLASSIFY.digest
    monkeypatch.setattr(recipes, "PIXELS_VERSION", recipes.PIXELS_VERSION + 1)
    assert replace(CLASSIFY).digest != before


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_class_at_all_is_refused(top_k: int) -> None:
    with pytest.raises(UsageError, match=f"--top-k {top_k} is too small; pass 1 or more"):
        replace(CLASSIFY, top_k=top_k)


def test_metadata() -> None:
    assert CLASSIFY.metadata() == {
        "model": "birds",
        "source": "gs://models/birds",
        "content_hash": "a" * 64,
        "recipe": CLASSIFY.digest,
        "preprocessing": "square 320x320 bicubic rgb 0..1",
        "precision": "f32",
        "engine": "tensorflow",
    }
