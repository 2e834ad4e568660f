"""Measure everything except the models: the whole pipeline with two engines that cost nothing, on small images.

Each number of images runs in its own process: listing, history, units, fetch, decode, fit, batches, answers, tables and
report, on Beam, with the sizes and widths of B7 and B6. The cost of one more image should stay constant.
Memory grows with the rows that a publish merges. The ratios are to the smallest number of images, where Beam's start
takes most of the time.

A second series does not decode and fit, but takes pixels that are in memory. What remains is nearly all Python, which
one core runs at a time. So its cost of one more image is the limit of a process on any number of cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from beamsight.models import registry
from benchmarks import common
from transforms.imaging import drawn, opening
from transforms.inference import bundle, engines, labels
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Floats, Pixels
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec

COUNTS = (100, 1_000, 10_000)
DISTINCT = 50  # different images; the others are hard links to them
SIZE = (256, 192)


class FreeEngine:
    """An engine that returns the same answer for every image, at no cost."""

    def __init__(self, spec: ModelSpec) -> None:
        self.batch = 1
        self.parallel = os.cpu_count() or 1
        self._answer = np.full((1, spec.width), 1 / spec.width, np.float32)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        return np.repeat(self._answer, len(pixels), axis=0)


def draw_images(folder: Path, count: int) -> None:
    """Write ``count`` small JPEGs."""
    originals = []
    for index in range(count):
        path = folder / f"{index:06}.jpg"
        if index < DISTINCT:
            path.write_bytes(drawn.encode(drawn.draw(index, *SIZE), quality=90))
            originals.append(path)
        else:
            os.link(originals[index % DISTINCT], path)


def write_recipe(registered: ModelSpec, folder: Path) -> Recipe:
    """Write a bundle without weights, and return the recipe of its table."""
    spec = replace(registered, name=f"{registered.name}-free")
    texts = {bundle.LABELS: labels.imagenet_text()} if spec.task == "classify" else {}
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    free = Bundle(spec, "an engine that costs nothing", hashes, {})
    (folder / bundle.MODEL_JSON).write_text(free.to_json(), encoding="utf-8")
    return Recipe(spec=spec, bundle=str(folder), content_hash=free.content_hash, source=free.source)


def skip_decoding() -> None:
    """Let the pipeline take pixels that are in memory, instead of decoding and fitting."""
    pixels: dict[int, Pixels] = {}

    def open_image(data: bytes, specs: dict[str, ModelSpec], max_pixels: int) -> opening.Opened:  # noqa: ARG001
        for spec in specs.values():
            pixels.setdefault(spec.size, np.zeros((spec.size, spec.size, 3), np.uint8))
        return opening.Opened(*SIZE, {table: pixels[spec.size] for table, spec in specs.items()}, Counter())

    opening.open_image = open_image


def run(folder: Path, images: str) -> None:
    """Run the pipeline over images in this process, and print seconds and images as JSON.

    Args:
        folder: Where bundles and tables are written.
        images: A source.
    """
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines import catalog
    from pipelines.options import CatalogOptions
    from transforms import counts, run_state
    from transforms.process import Settings

    specs = (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
    recipes = tuple(write_recipe(spec, folder / "bundles" / spec.task) for spec in specs)
    # The pipeline loads every engine through this function, so replacing it replaces the models.
    engines.load = lambda _name, _folder, spec, *_, **__: FreeEngine(spec)
    settings = Settings(output=str(folder / "catalog"), day="2026-01-01", run_id="overhead", version="0")
    options = CatalogOptions(images=(images,), recipes=recipes, settings=settings)
    sums: Counter[str] = Counter()
    since = time.perf_counter()
    pipeline = Pipeline(runner=FnApiRunner())
    catalog.build(pipeline, options, sums.update)
    pipeline.run().wait_until_finish()
    seconds = time.perf_counter() - since
    tally = run_state.of(settings.run_id).live.snapshot()
    print(json.dumps({"seconds": seconds, "images": tally[counts.IMAGES], "tensorflow": "tensorflow" in sys.modules}))


def main() -> None:
    """Measure each number of images in its own process."""
    parser = common.parser(__doc__)
    parser.add_argument(
        "--counts", nargs="+", type=int, default=COUNTS, metavar="N", help="numbers of images (default: %(default)s)"
    )
    # Both are for the processes that main starts.
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--no-decoding", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        if arguments.no_decoding:
            skip_decoding()
        run(arguments.inside, str(arguments.inside / "pictures"))
        return
    figures = common.Figures(arguments)
    seconds = {kind: measure(figures, arguments.counts, kind) for kind in ("pictures", "not decoded")}
    figures.write(seconds=seconds)


def measure(figures: common.Figures, image_counts: Sequence[int], kind: str) -> dict[int, float]:
    """Measure each number of images, add the figures, and return the seconds."""
    first = f"{image_counts[0]:,} {kind}"
    seconds: dict[int, float] = {}
    for count in image_counts:
        with tempfile.TemporaryDirectory(prefix="beamsight-overhead-") as scratch:
            (Path(scratch) / "pictures").mkdir()
            draw_images(Path(scratch) / "pictures", count)
            options = ["--no-decoding"] if kind == "not decoded" else []
            done = common.measure([sys.executable, "-m", "benchmarks.overhead", "--inside", scratch, *options])
        name = f"{count:,} {kind}"
        if done.code:
            figures.not_available(name, done.message)
            continue
        result = json.loads(done.output)
        if result["images"] != count:
            figures.not_available(name, f"only {result['images']:,} of {count:,} images were processed")
            continue
        seconds[count] = result["seconds"]
        figures.add(name, "throughput", count / result["seconds"], "images/s", first)
        figures.add(name, "cost", 1000 * result["seconds"] / count, "ms an image", first)
        figures.add(name, "peak memory", done.peak / 1e6, "MB", first)
    if len(seconds) > 1:
        (least, before), *_, (most, after) = sorted(seconds.items())
        each = (after - before) / (most - least)
        figures.add(f"{least:,} to {most:,} {kind}", "cost of one more", 1000 * each, "ms an image")
    return seconds


if __name__ == "__main__":
    main()
