"""Print the numbers of docs/scale.md, and check those that need no cloud with a run over a million URIs.

The run is the whole graph on Beam's local runner, from a manifest to two tables with the widths of B7 and B6: listing,
history, units, the DoFn with its threads and batches, answers, Parquet and report. It leaves out images and models:
fetch, decode and fit return the same grey image of 8x8 pixels at once, and the engines return a constant. ``overhead``
measures fetch, decode and fit on real files. The command fails if units or rows differ from the formulas. It also
measures a ref in each shuffle, encoded by Beam's own coder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from itertools import chain, islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from beamsight.models import registry
from benchmarks import common, formulas, histories
from benchmarks.overhead import FreeEngine, write_recipe
from transforms import counts, defaults
from transforms.counts import Tally
from transforms.history import units
from transforms.imaging import prepare
from transforms.imaging.opening import Pixels
from transforms.imaging.prepare import Prepared
from transforms.inference import engines
from transforms.inference.spec import ModelSpec
from transforms.listing import sources
from transforms.records import ImageRef, Work
from transforms.tables import publish
from transforms.tables.publish import Group, Published

GREY = np.full((8, 8, 3), 128, np.uint8)


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
    units_end: list[float] = []
    publish_group = publish.publish

    def publish_and_note(group_: Group, output: str, token: str, run_id: str) -> Published:
        units_end[:] = units_end or [time.perf_counter()]
        return publish_group(group_, output, token, run_id)

    publish.publish = publish_and_note
    since = time.perf_counter()
    pipeline = Pipeline(runner=FnApiRunner())
    catalog.build(pipeline, options, sums.update)
    pipeline.run().wait_until_finish()
    result = {"before": first_unit[0] - since, "units end": units_end[0] - since, "units": sums[counts.UNITS]}
    print(json.dumps({**result, "seconds": time.perf_counter() - since, "core seconds": time.process_time()}))


def encoded() -> dict[str, float]:
    """Return the bytes of a ref in each shuffle, encoded by Beam's coder, for refs of a manifest."""
    from apache_beam.coders import FastPrimitivesCoder

    coder = FastPrimitivesCoder()
    refs = [tuple(ImageRef(uri)) for uri in histories.images(0)[0][: sources.CHUNK]]
    part = ((0, 0), (refs, 0))
    unit = next(units.Cutter(defaults.UNIT_SIZE, "2026-01-01").add([(ref, histories.TABLES, 1) for ref in refs]))
    return {
        "a ref to its part": len(coder.encode(part)) / len(refs),
        "a ref to its worker": len(coder.encode(unit)) / len(unit.work),
    }


def run_process(*arguments: object) -> tuple[common.Measured, dict[str, Any]]:
    """Run this module in another process. Return its measurements and the JSON that it prints."""
    done = common.measure([sys.executable, "-m", "benchmarks.scale", *map(str, arguments)])
    if done.code:
        sys.exit(f"benchmarks.scale {' '.join(map(str, arguments))} failed: {done.message}")
    return done, json.loads(done.output)


def write_manifest(path: Path, count: int) -> None:
    """Write the URIs of ``count`` invented images."""
    nights = range(ceil(count / histories.NIGHT))
    uris = islice(chain.from_iterable(histories.images(night)[0] for night in nights), count)
    path.write_text("\n".join(uris) + "\n", encoding="utf-8")


def check(figures: common.Figures, count: int) -> None:
    """Run the graph over ``count`` URIs. Exit with an error if the result differs from the formulas."""
    name = f"{count:,} URIs"
    formula = f"formulas, {name}"
    estimate = formulas.estimate_job(count, 2, formulas.Parameters())
    with tempfile.TemporaryDirectory(prefix="beamsight-scale-") as scratch:
        manifest = Path(scratch, "manifest.txt")
        write_manifest(manifest, count)
        since = time.perf_counter()
        listed = sum(len(chunk.refs) for chunk in sources.list_images(str(manifest)))
        rate = listed / (time.perf_counter() - since)
        common.progress(f"running {name}")
        done, times = run_process("--run", scratch)
        output = Path(scratch, "catalog")
        rows = {
            str(path.relative_to(output)): pq.read_metadata(path).num_rows for path in output.glob("*/*/*/*.parquet")
        }
        index_bytes = sum(path.stat().st_size for path in output.glob("_work/index/**/*.parquet"))
    counted = {"units": times["units"], "files of tables": len(rows), "rows": sum(rows.values())}
    for what, value in {**estimate, "rows": formulas.TABLES * count}.items():
        if what in counted:
            figures.add(formula, what, value, "")
            figures.add(name, what, counted[what], "", formula)
    figures.add(name, "listing", rate, "URIs/s")
    figures.add(name, "until the first unit", times["before"], "s")
    figures.add(name, "units without images", 1000 * (times["units end"] - times["before"]) / count, "ms an image")
    figures.add(name, "publish", times["seconds"] - times["units end"], "s")
    figures.add(name, "core time", 1000 * times["core seconds"] / count, "ms an image")
    figures.add(name, "peak memory", done.peak / 1e6, "MB")
    figures.add(name, "index", index_bytes / formulas.TABLES / count, "bytes a key")
    extra = counted["units"] - estimate["units"]
    if counted["rows"] != formulas.TABLES * count or not 0 <= extra <= estimate["units"] / 100:
        sys.exit(f"{name} gave {counted}, which differ from the formulas; see the figures above")


def main() -> None:
    """Print the tables, or run the checks."""
    parser = common.parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the tables of docs/scale.md")
    parser.add_argument(
        "--uris", type=int, default=1_000_000, metavar="N", help="number of URIs (default: %(default)s)"
    )
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # for the processes that main starts
    arguments = parser.parse_args()
    if arguments.run is not None:
        run(arguments.run)
    elif arguments.table:
        print(formulas.tables())
    else:
        figures = common.Figures(arguments)
        for name, size in encoded().items():
            figures.add(name, "encoded", size, "bytes")
        for count in (arguments.uris // 10, arguments.uris):
            check(figures, count)
        figures.write()


if __name__ == "__main__":
    main()
