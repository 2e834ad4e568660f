"""Measure the seconds to the first table and to the end of a run with one image; baseline: ``import tensorflow``."""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import common, material

BASELINE = "import tensorflow"


def has_table(output: Path) -> bool:
    """Return whether a file of the predictions or embeddings exists."""
    return any(next((output / table).rglob("*.parquet"), None) for table in ("predictions", "embeddings"))


def main() -> None:
    """Run command and baseline in turn, and print medians."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument(
        "--repetitions", type=int, default=5, metavar="N", help="number of repetitions (default: %(default)s)"
    )
    parser.add_argument("--engine", default="auto", help="engine, as for `beamsight run` (default: %(default)s)")
    parser.add_argument("--precision", default="f32", help="precision, as for `beamsight run` (default: %(default)s)")
    arguments = parser.parse_args()
    classifier, embedder = material.bundles(arguments)
    picture = material.one_picture()
    figures = common.Figures(arguments)
    importing: list[float] = []
    runs: list[common.Measured] = []
    for _ in range(arguments.repetitions):
        importing.append(common.measure([sys.executable, "-c", "import tensorflow"]).seconds)
        with tempfile.TemporaryDirectory(prefix="beamsight-start-") as scratch:
            done = common.measure(
                [
                    *(*common.BEAMSIGHT, "run", "--images", picture, "--output", scratch),
                    *("--classifier", classifier, "--embedder", embedder),
                    *("--engine", arguments.engine, "--precision", arguments.precision),
                ],
                until=partial(has_table, Path(scratch)),
            )
        if done.code:
            figures.not_available("beamsight", done.message)
            break
        runs.append(done)
    figures.add(BASELINE, "time", statistics.median(importing), "s")
    if runs:
        name = f"beamsight {arguments.engine} {arguments.precision}"
        first = [done.reached if done.reached is not None else done.seconds for done in runs]
        figures.add(f"{name}, table", "time", statistics.median(first), "s", BASELINE)
        figures.add(f"{name}, end", "time", statistics.median(done.seconds for done in runs), "s", BASELINE)
        figures.add(f"{name}, end", "peak memory", max(done.peak for done in runs) / 1e6, "MB")
    figures.write(
        seconds={BASELINE: importing, "beamsight": [done.seconds for done in runs]},
        first_table=[done.reached for done in runs],
    )


if __name__ == "__main__":
    main()
