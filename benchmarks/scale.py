"""The numbers of docs/scale.md, and a run over a million URIs that checks those that need no cloud.

The run is the whole graph on Beam's local runner, in a process of its own, from a manifest to two tables with B7's and
B6's widths: listing, history, units, the DoFn with its threads and batches, answers, Parquet, report. Left out are the
images and the models: fetch, decode and fit of an image give at once the same grey picture of 8x8 pixels, and the
engines answer with a constant. What fetch, decode and fit cost is measured by ``overhead``, on real files. Units, their
sizes, files and rows must be as the formulas say, or the command fails. Besides: what a ref takes in each shuffle,
encoded by Beam's own coder, and one shard of a job of a thousand million images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from beamsight.models import registry
from benchmarks import common
from benchmarks.history import uri
from benchmarks.overhead import Free, recipe
from transforms import defaults
from transforms.counts import Tally
from transforms.history import subtract, units
from transforms.history.subtract import Known
from transforms.imaging import prepare
from transforms.imaging.prepare import Limits, Pixels, Prepared
from transforms.inference import engines
from transforms.inference.spec import ModelSpec
from transforms.listing import sources
from transforms.records import ImageRef, Work

SIZES = {1_000_000: 64, 100_000_000: 1_024, 1_000_000_000: 8_192}  # images: cores
TABLES = 2
GREY = np.full((8, 8, 3), 128, np.uint8)
SPREAD = 6  # standard deviations that a unit's size may be off; of a million units none is


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the formulas take. Measured: see docs/scale.md. Prices are list prices in USD: look up yours."""

    images_per_core: float = 2.6  # a second, B7 and B6 at bf16, measured: 5.2 on 2 cores
    memory_per_core: float = 4.0  # GB
    failing: float = 0.001  # share of images
    image_bytes: float = 500e3
    page: int = 1000  # objects that a request of a listing gives
    page_seconds: float = 0.2
    manifest_rate: float = 340e3  # lines a second, one source
    join_bytes: float = 70.0  # a ref on its way to the join, encoded
    known_bytes: float = 85.0  # a row of a table on its way there, encoded
    gather_bytes: float = 170.0  # a ref on its way to its unit, encoded
    open_seconds: float = 0.15  # a file of a table on gs://: three requests
    readers: int = 16  # files read at once by a worker's thread
    shard_bytes: float = 570.0  # a ref in a shard while it is subtracted, all of them done in both tables
    local_base: float = 352e6  # bytes of a process that is launcher, engine and worker in one
    local_bytes: float = 715.0  # there, an image
    row_bytes: float = 9.5e3  # both tables at most: 2304 floats, which compress little, and the rest
    core_hour: float = 0.056
    gb_hour: float = 0.003557
    shuffle_gb: float = 0.011
    class_a: float = 0.005e-3  # a request: write, list
    class_b: float = 0.0004e-3  # a request: read


def expected(images: int, cores: int, assumed: Assumed) -> dict[str, float]:
    """The formulas: so many images, none done before -> the numbers of docs/scale.md."""
    made = units.number_of_units(images)
    failing = made * (1 - (1 - assumed.failing) ** defaults.UNIT_SIZE)
    hours = images / assumed.images_per_core / cores / 3600
    pages = ceil(images / assumed.page)
    shuffled = images * (assumed.join_bytes + assumed.gather_bytes)
    compute = cores * hours * (assumed.core_hour + assumed.memory_per_core * assumed.gb_hour)
    requests = (pages + TABLES * made + failing) * assumed.class_a + images * assumed.class_b
    return {
        "listing a folder: requests": pages,
        "listing a folder: hours": pages * assumed.page_seconds / 3600,
        "listing a manifest: minutes": images / assumed.manifest_rate / 60,
        "units": made,
        "files of tables": TABLES * made,
        "files of failures": failing,
        "tables, GB": images * assumed.row_bytes / 1e9,
        "images read, TB": images * assumed.image_bytes / 1e12,
        "shuffle, GB": shuffled / 1e9,
        "join: memory of a shard, MB": images / subtract.SHARDS * assumed.shard_bytes / 1e6,
        "if run in one process: its memory, GB": (assumed.local_base + images * assumed.local_bytes) / 1e9,
        "next run: files opened": TABLES * made + failing,
        "next run: core hours to open them": TABLES * made * assumed.open_seconds / assumed.readers / 3600,
        "next run: shuffle, GB": images * (assumed.join_bytes + TABLES * assumed.known_bytes) / 1e9,
        "cores": cores,
        "hours": hours,
        "price, machines, $": compute,
        "price, shuffle and requests, $": shuffled / 1e9 * assumed.shuffle_gb + requests,
        "price, all, $": compute + shuffled / 1e9 * assumed.shuffle_gb + requests,
    }


def table() -> str:
    """The numbers for all sizes, as Markdown."""
    columns = [expected(size, cores, Assumed()) for size, cores in SIZES.items()]
    lines = ["| | " + " | ".join(f"{size // 1_000_000:,} million" for size in SIZES) + " |", "|---|---|---|---|"]
    rows = (f"| {name} | " + " | ".join(_short(column[name]) for column in columns) + " |" for name in columns[0])
    return "\n".join([*lines, *rows])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def run(folder: Path) -> None:
    """The graph over the manifest of a folder, in this process; prints what it took as JSON."""
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines import catalog
    from transforms.process import Settings

    begun: list[float] = []

    def ready(work: Work, specs: dict[str, ModelSpec], limits: Limits) -> Prepared:  # noqa: ARG001
        begun[:] = begun or [time.perf_counter()]
        pixels: dict[str, Pixels] = dict.fromkeys(work.tables, GREY)
        return Prepared(work, work.ref.version or "1", "0" * 64, 8, 8, pixels, Counter())

    prepare.prepare = ready
    engines.load = lambda _name, _folder, spec, *_, **__: Free(spec)
    specs = (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
    recipes = tuple(recipe(spec, folder / "bundles" / spec.task) for spec in specs)
    settings = Settings(output=str(folder / "catalog"), day="2026-01-01", run_id="scale", version="0")
    options = catalog.CatalogOptions(images=(str(folder / "manifest.txt"),), recipes=recipes, settings=settings)
    sums: Tally = Counter()
    since = time.perf_counter()
    pipeline = Pipeline(runner=FnApiRunner())
    catalog.build(pipeline, options, sums.update)
    pipeline.run().wait_until_finish()
    print(json.dumps({"before": begun[0] - since, "seconds": time.perf_counter() - since}))


def shard(count: int) -> None:
    """One shard with so many refs, of which the tables have none or all; prints seconds and bytes a ref as JSON."""
    import resource

    import psutil

    def refs() -> Iterator[list[ImageRef]]:
        for start in range(0, count, 16):  # as chunks of a listing reach a shard
            yield [ImageRef(uri(index)) for index in range(start, min(start + 16, count))]

    def known(table: str) -> Iterator[Known]:
        for start in range(0, count, 32):
            yield Known(table, False, [(uri(index), "1700000000000000") for index in range(start, start + 32)])

    tables = ("predictions/model=efficientnet-b7-01234567", "embeddings/model=efficientnet-b6-01234567")
    before = psutil.Process().memory_info().rss
    found = {}
    for name, sides in (("none done", []), ("all done", tables)):
        since = time.perf_counter()
        work, _ = subtract.missing(refs(), (each for table in sides for each in known(table)), tables)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of both, when it comes to the second
        found[name] = {"seconds": time.perf_counter() - since, "bytes": (peak - before) / count, "work": len(work)}
        del work
    print(json.dumps(found))


def encoded() -> dict[str, float]:
    """Bytes a ref in each shuffle, by Beam's coder, for refs of a manifest."""
    from apache_beam.coders import FastPrimitivesCoder

    coder = FastPrimitivesCoder()
    refs = [ImageRef(uri(index)) for index in range(sources.CHUNK)]
    shards = [(number, [tuple(ref) for ref in part]) for number, part in subtract.shard_refs(refs)]
    tables = ("predictions/model=efficientnet-b7-01234567", "embeddings/model=efficientnet-b6-01234567")
    work = [(tuple(ref), tables, 0) for ref in refs]
    keys = [(0, ("predictions", False, [(ref.uri, "1700000000000000") for ref in refs[:32]]))] * (len(refs) // 32)
    parts = list(units.assign(work, 1_000_000))  # as in a large job, where no two refs of a shard meet in a unit
    return {
        name: sum(len(coder.encode(element)) for element in elements) / len(refs)
        for name, elements in (("refs to the join", shards), ("rows to the join", keys), ("refs to units", parts))
    }


def inside(*arguments: object) -> tuple[common.Measured, dict[str, Any]]:
    """Part of this module in a process of its own -> what it took, and what it printed."""
    done = common.measure([sys.executable, "-m", "benchmarks.scale", *map(str, arguments)])
    if done.code:
        sys.exit(f"failed: {done.message}")
    return done, json.loads(done.output)


def check(figures: common.Figures, count: int) -> None:
    """The graph over ``count`` URIs; what it made must be what the formulas say."""
    name = f"{count:,} URIs"
    model = expected(count, 2, Assumed())
    with tempfile.TemporaryDirectory(prefix="beamsight-scale-") as scratch:
        with (Path(scratch) / "manifest.txt").open("w", encoding="utf-8") as file:
            file.writelines(f"{uri(index)}\n" for index in range(count))
        since = time.perf_counter()
        assert sum(len(chunk.refs) for chunk in sources.list_images(file.name)) == count
        rate = count / (time.perf_counter() - since)
        common.progress(f"running {name}")
        done, found = inside("--run", scratch)
        files = sorted(Path(scratch).rglob("*.parquet"))
        rows = [pq.read_metadata(path).num_rows for path in files if "/predictions/" in str(path)]
        stored = sum(path.stat().st_size for path in files)
    made, width = len(rows), SPREAD * sqrt(defaults.UNIT_SIZE)
    figures.add(f"model, {name}", "units", model["units"], "")
    figures.add(name, "units", made, "", f"model, {name}")
    figures.add(f"model, {name}", "files", model["files of tables"], "")
    figures.add(name, "files", len(files), "", f"model, {name}")
    figures.add(name, "least images a unit", min(rows), "")
    figures.add(name, "most images a unit", max(rows), "")
    figures.add(name, "rows", sum(rows), "")
    figures.add(name, "listing", rate, "URIs/s")
    figures.add(name, "until the first unit", found["before"], "s")
    figures.add(name, "units without images", 1000 * (found["seconds"] - found["before"]) / count, "ms an image")
    memory = 1000 * model["if run in one process: its memory, GB"]
    figures.add(f"model, {name}", "peak memory", memory, "MB")
    figures.add(name, "peak memory", done.peak / 1e6, "MB", f"model, {name}")
    figures.add(name, "tables, constant rows", stored / count, "bytes an image")
    mean = count / model["units"]
    if (made, len(files), sum(rows)) != (model["units"], model["files of tables"], count):
        sys.exit("units, files or rows are not as the formulas say")
    if not mean - width < min(rows) <= max(rows) < mean + width:
        sys.exit(f"units have {min(rows)} to {max(rows)} images, further from {mean:.0f} than chance has it")


def main() -> None:
    """The table alone, or the run beside it."""
    parser = common.parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the numbers for all sizes, as Markdown")
    parser.add_argument("--uris", type=int, default=1_000_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # what the processes are started with
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        run(arguments.run)
    elif arguments.shard is not None:
        shard(arguments.shard)
    elif arguments.table:
        print(table())
    else:
        figures = common.Figures(arguments)
        for name, size in encoded().items():
            figures.add(name, "encoded", size, "bytes a ref")
        for count in (arguments.uris // 10, arguments.uris):
            check(figures, count)
        largest = max(SIZES) // subtract.SHARDS
        _, found = inside("--shard", largest)
        for name, took in found.items():
            figures.add(f"shard of {largest:,}, {name}", "subtracted in", took["seconds"], "s")
            figures.add(f"shard of {largest:,}, {name}", "peak memory", took["bytes"], "bytes a ref")
        figures.write()


if __name__ == "__main__":
    main()
