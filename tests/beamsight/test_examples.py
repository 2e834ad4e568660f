"""The examples in the docstrings of public names run as they stand."""

from __future__ import annotations

import doctest
import inspect
import pathlib
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import StandardOptions

import beamsight
from transforms.imaging import drawn

NAMES = [
    name
    for name in beamsight.__all__
    if inspect.isclass(getattr(beamsight, name)) and "Example:" in str(getattr(beamsight, name).__doc__)
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: str, tiny_embedder: str) -> dict[str, Any]:
    """What the examples use: a blue photo, two models, an output, and an output with tables."""
    folder = tmp_path_factory.mktemp("examples")
    photo = folder / "photos" / "blue.png"
    photo.parent.mkdir()
    blue = np.zeros((24, 32, 3), np.uint8)
    blue[..., 2] = 255
    photo.write_bytes(drawn.encode(blue, "png"))
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beamsight.Catalog(str(photo), str(folder / "catalog"), classifier=tiny_classifier, embedder=None)
    return {
        "beam": beam,
        "beamsight": beamsight,
        "pathlib": pathlib,
        "photo": str(photo),
        "classifier": tiny_classifier,
        "embedder": tiny_embedder,
        "output": str(folder / "output"),
        "catalog": str(folder / "catalog"),
    }


def test_each_transform_has_an_example() -> None:
    transforms = [name for name in beamsight.__all__ if _is_transform(getattr(beamsight, name))]
    assert set(transforms) <= set(NAMES)


def _is_transform(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, beam.PTransform)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_class(name: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", "FnApiRunner")  # the default one may need the network
    examples = doctest.DocTestFinder(recurse=False).find(getattr(beamsight, name), name, globs=dict(names))
    said: list[str] = []
    results = [doctest.DocTestRunner().run(each, out=said.append) for each in examples]
    assert sum(result.attempted for result in results) > 0
    assert not sum(result.failed for result in results), "".join(said)
