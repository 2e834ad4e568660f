"""Print the numbers of docs/scale.md, and check those that need no cloud with a run over a million URIs.

The run is the whole graph on Beam's local runner, from a manifest to two tables with the widths of B7 and B6: listing,
history, units, the DoFn with its threads and batches, answers, Parquet and report. It leaves out images and models:
fetch, decode and fit return the same grey image of 8x8 pixels at once, and the engines return a constant. ``overhead``
measures fetch, decode and fit on real files. The command fails if units, their sizes, files or rows differ from the
formulas. It also measures a ref in each shuffle, encoded by Beam's own coder, and one shard of a job with a billion
images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from beamsight.models import registry
from benchmarks import common, formulas
from benchmarks.history import uri
from benchmarks.overhead import FreeEngine, write_recipe
from transforms import defaults
from transforms.counts import Tally
from transforms.history import subtract, units
from transforms.history.subtract import KnownKeys
from transforms.imaging import prepare
from transforms.imaging.opening import Pixels
from transforms.imaging.prepare import Prepared
from transforms.inference import engines
from transforms.inference.spec import ModelSpec
from transforms.listing import sources
from transforms.records import ImageRef, Work

GREY = np.full((8, 8, 3), 128, np.uint8)
SPREAD = 6  # standard deviations that the size of a unit may differ; among a million units, none differs more


def run(folder: Path) -> None:
    """Run the graph over the manifest in a folder, in this process, and print the seconds as JSON."""
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines import catalog
    from pipelines.options import CatalogOptions
    from transforms.process import Settings

    first_unit: list[float] = []

    def prepare_grey(work: Work, specs: dict[str, ModelSpec], limits: object, *_: object, **__: object) -> Prepared:  # noqa: ARG001
        first_unit[:] = first_unit or [time.perf_counter()]
        pixels: dict[str, Pixels] = dict.fromkeys(work.tables, GREY)
        return Prepared(work, work.ref.version or "1", "0" * 64, 8, 8, pixels, Counter())

    prepare.prepare = prepare_grey
    engines.load = lambda _name, _folder, spec, *_, **__: FreeEngine(spec)
    specs = (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
    recipes = tuple(write_recipe(spec, folder / "bundles" / spec.task) for spec in specs)
    settings = Settings(output=str(folder / "catalog"), day="2026-01-01", run_id="scale", version="0")
    options = CatalogOptions(images=(str(folder / "manifest.txt"),), recipes=recipes, settings=settings)
    sums: Tally = Counter()
    since = time.perf_counter()
    pipeline = Pipeline(runner=FnApiRunner())
    catalog.build(pipeline, options, sums.update)
    pipeline.run().wait_until_finish()
    print(json.dumps({"before": first_unit[0] - since, "seconds": time.perf_counter() - since}))


def shard(count: int) -> None:
    """Join a shard of ``count`` refs with no table rows, then with all rows. Print seconds and bytes a ref as JSON."""
    import resource

    import psutil

    def refs() -> Iterator[list[ImageRef]]:
        for start in range(0, count, 16):  # the size in which chunks of a listing reach a shard
            yield [ImageRef(uri(index)) for index in range(start, min(start + 16, count))]

    def known(table: str) -> Iterator[KnownKeys]:
        for start in range(0, count, 32):
            yield KnownKeys(table, False, [(uri(index), "1700000000000000") for index in range(start, start + 32)])

    tables = ("predictions/model=efficientnet-b7-01234567", "embeddings/model=efficientnet-b6-01234567")
    before = psutil.Process().memory_info().rss
    results = {}
    for name, sides in (("none done", []), ("all done", tables)):
        since = time.perf_counter()
        work, _ = subtract.missing(refs(), (each for table in sides for each in known(table)), tables)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # The second result includes the first.
        results[name] = {"seconds": time.perf_counter() - since, "bytes": (peak - before) / count, "work": len(work)}
        del work
    print(json.dumps(results))


def encoded() -> dict[str, float]:
    """Return the bytes of a ref in each shuffle, encoded by Beam's coder, for refs of a manifest."""
    from apache_beam.coders import FastPrimitivesCoder

    coder = FastPrimitivesCoder()
    refs = [ImageRef(uri(index)) for index in range(sources.CHUNK)]
    shards = [(number, [tuple(ref) for ref in part]) for number, part in subtract.shard_refs(refs)]
    tables = ("predictions/model=efficientnet-b7-01234567", "embeddings/model=efficientnet-b6-01234567")
    work = [(tuple(ref), tables, 0) for ref in refs]
    keys = [(0, ("predictions", False, [(ref.uri, "1700000000000000") for ref in refs[:32]]))] * (len(refs) // 32)
    parts = list(units.assign(work, 1_000_000))  # In a large job, no two refs of a shard share a unit.
    return {
        name: sum(len(coder.encode(element)) for element in elements) / len(refs)
        for name, elements in (("refs to the join", shards), ("rows to the join", keys), ("refs to units", parts))
    }


def run_process(*arguments: object) -> tuple[common.Measured, dict[str, Any]]:
    """Run this module in another process. Return its measurements and the JSON that it prints."""
    done = common.measure([sys.executable, "-m", "benchmarks.scale", *map(str, arguments)])
    if done.code:
        sys.exit(f"benchmarks.scale {' '.join(map(str, arguments))} failed: {done.message}")
    return done, json.loads(done.output)


def check(figures: common.Figures, count: int) -> None:
    """Run the graph over ``count`` URIs. Exit with an error if the result differs from the formulas."""
    name = f"{count:,} URIs"
    model = formulas.estimate(count, 2, formulas.Parameters())
    with tempfile.TemporaryDirectory(prefix="beamsight-scale-") as scratch:
        with (Path(scratch) / "manifest.txt").open("w", encoding="utf-8") as file:
            file.writelines(f"{uri(index)}\n" for index in range(count))
        since = time.perf_counter()
        assert sum(len(chunk.refs) for chunk in sources.list_images(file.name)) == count
        rate = count / (time.perf_counter() - since)
        common.progress(f"running {name}")
        done, times = run_process("--run", scratch)
        files = sorted(Path(scratch).rglob("*.parquet"))
        rows = [pq.read_metadata(path).num_rows for path in files if "/predictions/" in str(path)]
        stored = sum(path.stat().st_size for path in files)
    unit_count, tolerance = len(rows), SPREAD * sqrt(defaults.UNIT_SIZE)
    figures.add(f"model, {name}", "units", model["units"], "")
    figures.add(name, "units", unit_count, "", f"model, {name}")
    figures.add(f"model, {name}", "files", model["files of tables"], "")
    figures.add(name, "files", len(files), "", f"model, {name}")
    figures.add(name, "least images a unit", min(rows), "")
    figures.add(name, "most images a unit", max(rows), "")
    figures.add(name, "rows", sum(rows), "")
    figures.add(name, "listing", rate, "URIs/s")
    figures.add(name, "until the first unit", times["before"], "s")
    figures.add(name, "units without images", 1000 * (times["seconds"] - times["before"]) / count, "ms an image")
    memory = 1000 * model["if run in one process: its memory, GB"]
    figures.add(f"model, {name}", "peak memory", memory, "MB")
    figures.add(name, "peak memory", done.peak / 1e6, "MB", f"model, {name}")
    figures.add(name, "tables, constant rows", stored / count, "bytes an image")
    mean = count / model["units"]
    if (unit_count, len(files), sum(rows)) != (model["units"], model["files of tables"], count):
        counts = f"{unit_count:,} units, {len(files):,} files and {sum(rows):,} rows"
        sys.exit(f"{counts} differ from the formulas; see the figures above")
    if not mean - tolerance < min(rows) <= max(rows) < mean + tolerance:
        sys.exit(f"units have {min(rows)} to {max(rows)} images; random differences from {mean:.0f} are smaller")


def main() -> None:
    """Print the table, or run the checks."""
    parser = common.parser(__doc__)
    parser.add_argument(
        "--table", action="store_true", help="only print the numbers for all sizes, as a Markdown table"
    )
    parser.add_argument(
        "--uris", type=int, default=1_000_000, metavar="N", help="number of URIs (default: %(default)s)"
    )
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # for the processes that main starts
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        run(arguments.run)
    elif arguments.shard is not None:
        shard(arguments.shard)
    elif arguments.table:
        print(formulas.table())
    else:
        figures = common.Figures(arguments)
        for name, size in encoded().items():
            figures.add(name, "encoded", size, "bytes a ref")
        for count in (arguments.uris // 10, arguments.uris):
            check(figures, count)
        largest = max(formulas.SIZES) // subtract.SHARDS
        _, results = run_process("--shard", largest)
        for name, result in results.items():
            figures.add(f"shard of {largest:,}, {name}", "subtracted in", result["seconds"], "s")
            figures.add(f"shard of {largest:,}, {name}", "peak memory", result["bytes"], "bytes a ref")
        figures.write()


if __name__ == "__main__":
    main()
