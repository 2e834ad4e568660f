"""Measure the time of each step of a run: fetch, decode, fit, B7, B6 and write, from the report of the run.

Seconds are sums over threads, and steps overlap, so their total exceeds the wall time. The seconds of a model are the
time in its calls, and OpenVINO runs as many calls at once as it has streams. If the seconds of both models come close
to the wall time multiplied by the number of streams, the models never waited. The wall time excludes imports.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks import common, material

STEPS = {
    "fetch": "fetch",
    "wait": "wait for a core",
    "decode": "decode",
    "fit": "fit",
    "classify": "B7",
    "embed": "B6",
    "write": "write",
}


def main() -> None:
    """Run beamsight once and print the time of each step."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--pictures", type=int, default=48, metavar="N", help="number of images (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="engine, as for `beamsight run` (default: %(default)s)")
    parser.add_argument("--precision", default="f32", help="precision, as for `beamsight run` (default: %(default)s)")
    arguments = parser.parse_args()
    classifier, embedder = material.bundles(arguments)
    pictures = material.pictures(arguments.pictures)
    figures = common.Figures(arguments)
    with tempfile.TemporaryDirectory(prefix="beamsight-profile-") as scratch:
        done = common.measure(
            [
                *(*common.BEAMSIGHT, "run", "--images", pictures, "--output", scratch),
                *("--classifier", classifier, "--embedder", embedder),
                *("--engine", arguments.engine, "--precision", arguments.precision),
            ]
        )
        if done.code:
            figures.not_available("profile", done.message)
            sys.exit(1)
        (path,) = Path(scratch, "runs").glob("*.json")
        report = json.loads(path.read_text(encoding="utf-8"))
    wall, seconds = report["seconds"], report["seconds_by_step"]
    figures.add("command", "time", done.seconds, "s")
    figures.add("wall", "time", wall, "s")
    for step in (*STEPS, *(name for name in seconds if name not in STEPS)):
        figures.add(STEPS.get(step, step), "time", seconds.get(step, 0.0), "s", "wall")
    figures.write(seconds_by_step=seconds, seconds=wall, pictures=arguments.pictures)


if __name__ == "__main__":
    main()
