"""Compare the PTransforms of the library with the command: the same images, models, and answers.

Both run as commands of their own, in turn, once on one image and once on all images. The figures are medians:

- steady: images/s after the start, (images - 1) / (seconds for all - seconds for one).
- CPU: seconds of all cores per image, (seconds for all - seconds for one) / (images - 1). Other work on the machine
  changes it less than the speed.
- differences: images whose class or vector differs in any bit.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks import common, material
from benchmarks.common import Figures
from benchmarks.pipeline import CONTENDERS, Contender, Race

COMMAND = "beamsight-f32"
LIBRARY = "library-f32"


def contenders() -> tuple[Contender, Contender]:
    """Return the command and the library."""
    command = next(each for each in CONTENDERS if each.name == COMMAND)
    folders = ("--pictures", "{folder}", "--output", "{output}")
    models = ("--classifier", "{classifier}", "--embedder", "{embedder}")
    return command, Contender(LIBRARY, (sys.executable, "-m", "benchmarks.peers.library", *folders, *models))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run all repetitions, then print the figures."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--pictures", type=int, default=48, metavar="N", help="number of images (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.pictures < 2 or arguments.repetitions < 1:
        parser.error("--pictures must be at least 2, and --repetitions at least 1")
    figures = Figures(arguments)
    cpu: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as scratch:
        race = Race(arguments, Path(scratch))
        for repetition in range(arguments.repetitions):
            common.progress(f"repetition {repetition + 1} of {arguments.repetitions}")
            for contender in contenders():
                for count in (1, arguments.pictures):
                    start = _cpu_seconds()
                    race.run_once(contender, count)
                    cpu[contender.name, count].append(_cpu_seconds() - start)
    for name, reason in race.unavailable.items():
        sys.exit(f"{name}: {reason}")
    for name in (COMMAND, LIBRARY):
        seconds = [statistics.median(done.seconds for done in group[name]) for group in (race.one, race.all)]
        used = [statistics.median(cpu[name, count]) for count in (1, arguments.pictures)]
        figures.add(name, "steady", (arguments.pictures - 1) / (seconds[1] - seconds[0]), "images/s", COMMAND)
        figures.add(name, "with start-up", arguments.pictures / seconds[1], "images/s", COMMAND)
        figures.add(name, "CPU", (used[1] - used[0]) / (arguments.pictures - 1), "s/image", COMMAND)
    figures.add(LIBRARY, "differences", _differences(race), "images")
    figures.write(pictures=arguments.pictures, repetitions=arguments.repetitions, **race.details())


def _differences(race: Race) -> int:
    (classes, vectors), (own_classes, own_vectors) = race.answers[COMMAND], race.answers[LIBRARY]
    return sum(
        classes.get(name) != own_classes.get(name)
        or name not in own_vectors
        or vectors[name].tobytes() != own_vectors[name].tobytes()
        for name in classes.keys() | own_classes.keys()
    )


if __name__ == "__main__":
    main()
