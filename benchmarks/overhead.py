"""Everything but the models: the whole pipeline around two engines that cost nothing, on small pictures.

For each number of pictures, in a process of its own: listing, history, units, fetch, decode, fit, batches, answers,
tables and report, as Beam runs them, with B7's and B6's sizes and widths. ms an image and peak memory are to be flat.
The ratios are to the smallest number of pictures, which bears Beam's start nearly alone.
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
from dataclasses import replace
from pathlib import Path

import numpy as np

from beamsight.models import registry
from benchmarks import common
from transforms.imaging import drawn
from transforms.inference import bundle, engines, labels
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Floats, Pixels
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec

COUNTS = (100, 1_000, 10_000)
DISTINCT = 50  # pictures; the others are the same files under other names
SIZE = (256, 192)


class Free:
    """An engine whose answers cost nothing, and differ no more than they have to."""

    def __init__(self, spec: ModelSpec) -> None:
        self.batch = 1
        self.parallel = os.cpu_count() or 1
        self._answer = np.full((1, spec.width), 1 / spec.width, np.float32)

    def infer(self, pixels: Pixels) -> Floats:
        """See ``Engine.infer``."""
        return np.repeat(self._answer, len(pixels), axis=0)


def draw(folder: Path, count: int) -> None:
    """``count`` small JPEGs."""
    originals = []
    for index in range(count):
        path = folder / f"{index:06}.jpg"
        if index < DISTINCT:
            path.write_bytes(drawn.encode(drawn.draw(index, *SIZE), quality=90))
            originals.append(path)
        else:
            os.link(originals[index % DISTINCT], path)


def recipe(registered: ModelSpec, folder: Path) -> Recipe:
    """A table of a bundle without weights."""
    spec = replace(registered, name=f"{registered.name}-free")
    names = {bundle.LABELS: labels.imagenet_text()} if spec.task == "classify" else {}
    folder.mkdir(parents=True)
    for name, text in names.items():
        (folder / name).write_text(text, encoding="utf-8")
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in names.items()}
    made = Bundle(spec, "an engine that costs nothing", hashes, {})
    (folder / bundle.MODEL_JSON).write_text(made.to_json(), encoding="utf-8")
    return Recipe(spec=spec, bundle=str(folder), content_hash=made.content_hash, source=made.source)


def run(folder: Path) -> None:
    """The pipeline over a folder of pictures, in this process; prints seconds and images as JSON."""
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines import catalog
    from transforms import counts
    from transforms.process import Settings

    specs = (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
    recipes = tuple(recipe(spec, folder / "bundles" / spec.task) for spec in specs)
    # The seam between the pipeline and what runs a model, whatever else it is told.
    engines.load = lambda _name, _folder, spec, *_, **__: Free(spec)
    settings = Settings(output=str(folder / "catalog"), day="2026-01-01", run_id="overhead", version="0")
    options = catalog.CatalogOptions(images=(str(folder / "pictures"),), recipes=recipes, settings=settings)
    sums: Counter[str] = Counter()
    since = time.perf_counter()
    pipeline = Pipeline(runner=FnApiRunner())
    catalog.build(pipeline, options, sums.update)
    pipeline.run().wait_until_finish()
    seconds = time.perf_counter() - since
    tally = counts.LIVE.snapshot()
    print(json.dumps({"seconds": seconds, "images": tally[counts.IMAGES], "tensorflow": "tensorflow" in sys.modules}))


def main() -> None:
    """Each number of pictures in a process of its own."""
    parser = common.parser(__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, metavar="N", help="default: %(default)s")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)  # what the processes are started with
    arguments = parser.parse_args()
    if arguments.inside is not None:
        run(arguments.inside)
        return
    figures = common.Figures(arguments)
    first = f"{arguments.counts[0]:,} pictures"
    seconds: dict[int, float] = {}
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(prefix="beamsight-overhead-") as scratch:
            (Path(scratch) / "pictures").mkdir()
            draw(Path(scratch) / "pictures", count)
            done = common.measure([sys.executable, "-m", "benchmarks.overhead", "--inside", scratch])
        name = f"{count:,} pictures"
        if done.code:
            figures.not_available(name, done.message)
            continue
        found = json.loads(done.output)
        if found["images"] != count:
            figures.not_available(name, f"only {found['images']:,} were done")
            continue
        seconds[count] = found["seconds"]
        figures.add(name, "throughput", count / found["seconds"], "images/s", first)
        figures.add(name, "cost", 1000 * found["seconds"] / count, "ms an image", first)
        figures.add(name, "peak memory", done.peak / 1e6, "MB", first)
    if len(seconds) > 1:
        (least, before), *_, (most, after) = sorted(seconds.items())
        each = (after - before) / (most - least)
        figures.add(f"{least:,} to {most:,}", "cost of one more", 1000 * each, "ms an image")
    figures.write(seconds=seconds)


if __name__ == "__main__":
    main()
