"""Images of the sizes of B7 and B6 through the command. Weights are seeded: only shapes and sizes mean anything.

The networks are those of B0, which other tests use too. With BEAMSIGHT_TEST_FULL_SIZE=1 in the environment they are B7
and B6 themselves, which takes minutes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tables

from beamsight.models import registry, staging
from runners.cli import app, codes
from transforms.imaging import drawn, resizing
from transforms.inference.spec import Task

NETWORKS = ("efficientnet-b7", "efficientnet-b6")
if os.environ.get("BEAMSIGHT_TEST_FULL_SIZE", "0") == "0":
    NETWORKS = ("efficientnet-b0", "efficientnet-b0")


def test_b7_and_b6_at_their_sizes(standin: Callable[[str, Task], Path], tmp_path: Path) -> None:
    bundles, widths = [], []
    sizes: tuple[tuple[str, Task], ...] = (("efficientnet-b7", "classify"), ("efficientnet-b6", "embed"))
    for (name, task), network in zip(sizes, NETWORKS, strict=True):
        widths.append(registry.get(network, task).width)
        spec = dataclasses.replace(registry.get(name, task), name=f"{name}-standin", width=widths[-1])
        bundles.append(str(tmp_path / name))
        staging.stage(str(standin(network, task)), spec, bundles[-1])
    images = tmp_path / "in"
    images.mkdir()
    for number, size in enumerate([(640, 480), (300, 700), (1600, 1200), (1, 5000)]):
        (images / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, *size)))
    command = ["run", "--images", str(images), "--output", str(tmp_path / "out"), "--probabilities"]

    assert app.main([*command, "--classifier", bundles[0], "--embedder", bundles[1]]) == codes.DONE

    predictions = tables.rows(tmp_path / "out", "predictions", tmp_path)
    embeddings = tables.rows(tmp_path / "out", "embeddings", tmp_path)
    assert [(row["width"], row["height"]) for row in predictions] == [(640, 480), (300, 700), (1600, 1200), (1, 5000)]
    probabilities = np.array([row["probabilities"] for row in predictions])
    vectors = np.array([row["embedding"] for row in embeddings])
    assert (probabilities.shape, vectors.shape) == ((4, 1000), (4, widths[1]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    assert np.isfinite(vectors).all()
    for outputs in (probabilities, vectors):
        assert len(np.unique(outputs.round(6), axis=0)) == 4
    (name,) = {path.split("model=")[1].split("/")[0] for path in tables.files_of(tmp_path / "out", "embeddings")}
    assert name.startswith("efficientnet-b6-standin-")
    metadata = {
        key.decode(): value.decode()
        for path in tables.files_of(tmp_path / "out", "predictions")
        for key, value in pq.read_schema(path).metadata.items()
    }
    simd = "-simd" if resizing.best() == "simd" else ""
    assert metadata["beamsight.preprocessing"] == f"square 600x600 bicubic{simd} rgb 0..1"
    assert metadata["beamsight.precision"] == "f32"
