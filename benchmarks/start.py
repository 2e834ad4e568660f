"""Measure the seconds to the first table and to the end of a run with one image; baseline: ``import tensorflow``.

The first run on a machine compiles the models. The next one finds them compiled.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import common, material

BASELINE = "import tensorflow"
FIRST, NEXT = "first run", "next run"


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
    command = [
        *(*common.BEAMSIGHT, "run", "--images", picture, "--classifier", classifier, "--embedder", embedder),
        *("--engine", arguments.engine, "--precision", arguments.precision),
    ]
    importing: list[float] = []
    runs: dict[str, list[common.Measured]] = {FIRST: [], NEXT: []}
    for _ in range(arguments.repetitions):
        importing.append(common.measure([sys.executable, "-c", "import tensorflow"]).seconds)
        with tempfile.TemporaryDirectory(prefix="beamsight-start-") as scratch:
            for which, done in runs.items():
                output = Path(scratch, which)
                done.append(
                    common.measure(
                        [*command, "--output", output],
                        until=partial(has_table, output),
                        variables={"BEAMSIGHT_CACHE": str(Path(scratch, "cache"))},
                    )
                )
    figures.add(BASELINE, "time", statistics.median(importing), "s")
    for which, all_done in runs.items():
        name = f"{which}, {arguments.precision}"
        if failed := [done for done in all_done if done.code]:
            figures.not_available(name, failed[0].message)
            continue
        reached = [done.reached if done.reached is not None else done.seconds for done in all_done]
        figures.add(f"{name}: table", "time", statistics.median(reached), "s", BASELINE)
        figures.add(f"{name}: end", "time", statistics.median(done.seconds for done in all_done), "s", BASELINE)
        figures.add(f"{name}: end", "peak memory", max(done.peak for done in all_done) / 1e6, "MB")
    figures.write(
        seconds={BASELINE: importing}
        | {which: [done.seconds for done in all_done] for which, all_done in runs.items()},
        first_table={which: [done.reached for done in all_done] for which, all_done in runs.items()},
    )


if __name__ == "__main__":
    main()
