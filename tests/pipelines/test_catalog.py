"""catalog: a large source is listed by ranges, each image once."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from gcs_server import Bucket

from pipelines import catalog
from pipelines.options import CatalogOptions
from transforms import counts, run_state
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.process import Settings

SPEC = ModelSpec(name="tiny", task="embed", size=16, width=8, output="features")


@pytest.fixture
def large(bucket: Bucket) -> Bucket:
    for i in range(12_000):
        bucket.put(f"p/{i:05}.{'jpg' if i % 4 else 'txt'}", b"")
    return bucket


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("both", [False, True])
def test_each_image_of_a_large_source_is_listed_once(large: Bucket, tmp_path: Path, workers: int, both: bool) -> None:
    images = (large.uri("p/"), large.uri("p/000*.jpg"))[: 1 + both]
    options = CatalogOptions(
        images=images,
        recipes=(Recipe(SPEC, "/bundles/tiny", "a" * 64, "here"),),
        settings=Settings(output=str(tmp_path), day="2026-11-20", run_id="r", version="1"),
        workers=workers,
    )
    pipeline = beam.Pipeline(runner=FnApiRunner())
    catalog.count(pipeline, options)
    pipeline.run().wait_until_finish()
    tally = run_state.of("r").finished.snapshot()
    assert tally[counts.MISSING] == 9_000
    assert tally[counts.IGNORED] == 3_000
    assert tally[counts.DUPLICATES] == 75 * both
    assert any("startOffset" in path for _, path in large.gcs.requests) == (workers > 1)
