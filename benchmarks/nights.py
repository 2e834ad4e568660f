"""Measure what a night costs when there were many before it: seconds, memory, and what is read of the tables.

``benchmarks.histories`` makes the tables of 10, 100 and 300 nights with 100,000 images each. Each case then runs a part
of the graph in its own process, without images and models:

- new: from Prepare to Units for the next night, of which all images are missing.
- again: the same for the last night, of which all images are done or failed.
- publish: Publish for the finished units of the next night, with vectors of two floats.
- real: the same with vectors of 2304 floats.
- bucket: from Prepare to Units for the whole bucket, listed in order, of which all images are done or failed.
- manifest: the same for a manifest of a million of these images in random order.

No bucket is listed: a file system in this module invents the names and versions of the objects. ``source alone`` is the
time that this takes, or that reading the manifest takes. Files and bytes are counted in beamsight's storage layer, so
those in the page cache count too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks import common, histories
from transforms import counts, defaults
from transforms.errors import NotFound
from transforms.storage import files
from transforms.storage.base import Stat
from transforms.storage.local import LocalFiles

NIGHTS = (10, 100, 300)
CASES = {"new": NIGHTS, "again": NIGHTS, "publish": NIGHTS, "real": NIGHTS[-1:], "bucket": NIGHTS, "manifest": NIGHTS}

SHORT = ("new", "again", "publish")  # the cases that are repeated

_MILLION = 1_000_000


class CountedFiles(LocalFiles):
    """Local files. Counts what is listed, read and written."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _add(self, what: str, size: int) -> None:
        with self._lock:
            self.counts.update({f"files {what}": 1, f"bytes {what}": size})

    def read(self, uri: str, *arguments: Any, **options: Any) -> tuple[bytes, Stat]:
        """See ``FileSystem.read``."""
        data, stat = super().read(uri, *arguments, **options)
        self._add("read", len(data))
        return data, stat

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """See ``FileSystem.open``. Counts the whole file."""
        opened = super().open(uri, version)
        self._add("read", opened[1].size)
        return opened

    def walk(self, prefix: str, **options: Any) -> Iterator[Stat]:
        """See ``FileSystem.walk``."""
        for stat in super().walk(prefix, **options):
            self._add("listed", 0)
            yield stat

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """See ``FileSystem.create``, which all writes use."""
        with super().create(uri) as file:
            yield file
            self._add("written", file.tell())


class InventedBucket:
    """The methods of ``FileSystem`` that a listing calls, for the images of some nights."""

    def __init__(self, nights: range) -> None:
        self._nights = nights

    def stat(self, uri: str) -> Stat:
        """Raise NotFound, because sources are folders."""
        raise NotFound(f"{uri} does not exist")

    def walk(self, prefix: str, **_: Any) -> Iterator[Stat]:
        """Yield the images in the folders that start with ``prefix``, sorted."""
        for night in self._nights:
            if histories.folder(night).startswith(prefix):
                for uri, version in zip(*histories.images(night), strict=True):
                    yield Stat(uri, 500_000, version)


def write_manifest(path: Path, nights: int) -> None:
    """Write about a million images of all nights in random order."""
    shuffled = random.Random(0)
    some = _MILLION // nights
    uris = [uri for night in range(nights) for uri in shuffled.sample(histories.images(night)[0], some)]
    shuffled.shuffle(uris)
    path.write_text("\n".join(uris) + "\n", encoding="utf-8")


def source(case: str, nights: int, folder: Path) -> str:
    """Return what a case lists after so many nights."""
    if case == "manifest":
        path = folder / "manifest.txt"
        write_manifest(path, nights)
        return str(path)
    return {"new": histories.folder(nights), "again": histories.folder(nights - 1), "bucket": histories.ROOT}[case]


def find_missing(pipeline: Any, images: str, settings: Any) -> None:
    """Add the steps from Prepare to Units to a pipeline."""
    import apache_beam as beam

    from pipelines import publish
    from pipelines.missing import Missing, Units
    from pipelines.options import CatalogOptions

    options = CatalogOptions(images=(images,), recipes=histories.RECIPES, settings=settings)
    prepared = pipeline | "Prepare" >> publish.Prepare(options.tables, settings)
    missing = pipeline | "Missing" >> Missing(options, [beam.pvalue.AsIter(prepared)])
    _ = missing.work | "Units" >> Units(options) | "Count" >> beam.Map(_count_unit, settings.run_id)


def _count_unit(_: Any, run_id: str) -> None:
    from transforms import run_state

    run_state.of(run_id).live.add(Counter({counts.UNITS: 1}))


def publish_units(pipeline: Any, night: int, settings: Any, width: int) -> None:
    """Write the units of a night, and add Publish to a pipeline."""
    import apache_beam as beam

    from pipelines.publish import Publish

    units: list[Any] = []
    for table in histories.TABLES:
        units += map(tuple, histories.write_units(settings.output, table, night, defaults.UNIT_SIZE, width))
    created = beam.Create(units).with_output_types(Any)  # ProcessUnits declares no type either
    _ = pipeline | "Units" >> created | "Publish" >> Publish(histories.TABLES, settings)


def run(case: str, nights: int, listed: int, output: Path) -> None:
    """Run a case in this process, and print its figures as JSON. The bucket has ``listed`` nights."""
    from apache_beam import Pipeline
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from transforms import run_state
    from transforms.listing import sources
    from transforms.process import Settings

    counted = CountedFiles()
    bucket: Any = InventedBucket(range(min(listed, nights)) if case == "bucket" else range(nights + 1))
    files.SYSTEMS.update(file=counted, gs=bucket)
    settings = Settings(output=str(output), day=histories.day(nights), run_id=case, version="0")
    pipeline = Pipeline(runner=FnApiRunner())
    result: dict[str, float] = {}
    if case in ("publish", "real"):
        publish_units(pipeline, nights, settings, histories.VECTOR if case == "real" else 2)
    else:
        images = source(case, nights, output)
        since = time.process_time()
        alone = sum(len(chunk.refs) for chunk in islice(sources.list_images(images), _MILLION // sources.CHUNK))
        result["source alone"] = (time.process_time() - since) / alone
        find_missing(pipeline, images, settings)
    counted.counts.clear()
    since, cpu_since = time.perf_counter(), time.process_time()
    pipeline.run().wait_until_finish()
    result |= {"seconds": time.perf_counter() - since, "core seconds": time.process_time() - cpu_since}
    print(json.dumps(result | counted.counts | run_state.of(case).live.snapshot()))


def measure(case: str, nights: int, listed: int, history: Path) -> dict[str, float]:
    """Run a case in another process, with a copy of a history. Return its figures."""
    with tempfile.TemporaryDirectory(prefix="beamsight-nights-", dir=history.parent) as scratch:
        output = Path(scratch, "catalog")
        shutil.copytree(history, output, copy_function=os.link)  # beamsight never changes a file, it replaces it
        common.progress(f"{case} after {nights} nights")
        command = [sys.executable, "-m", "benchmarks.nights", "--run", case, "--nights", nights]
        done = common.measure([*map(str, command), "--listed", str(listed), "--folder", str(output)])
        if done.code:
            sys.exit(f"{case} after {nights} nights failed: {done.message}")
    return {**json.loads(done.output), "peak memory": done.peak / 1e6}


def main() -> None:
    """Make the histories, and measure each case after each of them."""
    parser = common.parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="cases (default: all)")
    parser.add_argument(
        "--nights", nargs="+", type=int, default=NIGHTS, metavar="N", help="histories (default: %(default)s)"
    )
    parser.add_argument(
        "--repetitions", type=int, default=3, metavar="N", help="runs of each short case (default: %(default)s)"
    )
    parser.add_argument(
        "--listed", type=int, default=NIGHTS[-1], metavar="N", help="nights in the bucket (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="folder that keeps the histories (default: a temporary one)")
    parser.add_argument("--run", choices=CASES, help=argparse.SUPPRESS)  # for the processes that main starts
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.nights[0], arguments.listed, arguments.folder)
        return
    figures = common.Figures(arguments)
    with tempfile.TemporaryDirectory(prefix="beamsight-histories-") as scratch:
        folder = arguments.folder or Path(scratch)
        make_histories(figures, folder, sorted(arguments.nights))
        for case in arguments.cases:
            nights = sorted(set(arguments.nights) & set(CASES[case]))
            results: defaultdict[int, list[dict[str, float]]] = defaultdict(list)
            for _ in range(arguments.repetitions if case in SHORT else 1):
                for count in nights:
                    results[count].append(measure(case, count, arguments.listed, folder / str(count)))
            for count in nights:
                add_figures(figures, case, f"{nights[0]} nights, {case}", f"{count} nights, {case}", results[count])
    figures.write()


def make_histories(figures: common.Figures, folder: Path, nights: list[int]) -> None:
    """Make the histories that a folder lacks, each from the one before it."""
    tables, before = folder / "tables", 0
    for count in nights:
        if not (folder / str(count)).exists():
            merges = histories.extend(tables, range(before, count))
            shutil.copytree(tables, folder / str(count), copy_function=os.link)
            figures.add(f"{count} nights", "longest merge", max(merges), "s")
            figures.add(f"{count} nights", "merges, a night", sum(merges) / (count - before), "s")
        before = count


def add_figures(figures: common.Figures, case: str, base: str, name: str, results: list[dict[str, float]]) -> None:
    """Add the medians of a case after a history."""
    middle = {what: statistics.median(result.get(what, 0) for result in results) for what in results[0]}
    millions = middle.get(counts.LISTED, 0) / _MILLION if case in ("bucket", "manifest") else 1
    unit = "s" if millions == 1 else "s a million"
    for what in ("seconds", "core seconds"):
        figures.add(name, what, middle[what] / millions, unit, base)
    figures.add(name, "peak memory", middle["peak memory"], "MB", base)
    for what in ("listed", "read", "written"):
        figures.add(name, f"files {what}", middle.get(f"files {what}", 0), "", base)
    figures.add(name, "read", middle.get("bytes read", 0) / 1e6, "MB", base)
    for what in (counts.LISTED, counts.MISSING, counts.UNITS, counts.PUBLISHED, counts.PUBLISHED_ROWS):
        if what in middle:
            figures.add(name, what, middle[what], "")
    if "source alone" in middle:
        figures.add(name, "source alone", middle["source alone"] * _MILLION, "core s a million")


if __name__ == "__main__":
    main()
