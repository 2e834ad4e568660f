"""Compare beamsight with other tools and with the bare engine: JPEG files to classes and vectors in Parquet.

Each contender runs as a command of its own, once on one image and once on all images. All contenders take turns in each
repetition, so that other work on the machine affects them equally. The figures are medians:

- steady: images/s after the start, (images - 1) / (seconds for all - seconds for one). For a bare engine, which does
  nothing else: images / seconds of inference.
- noise: relative difference between the steady figures of the same contender, which runs twice in each repetition. A
  ratio or share that differs from 1 by no more than this is not printed.
- with start-up: images / seconds for all, from the command to its end.
- one picture: seconds from the command to its end.
- peak memory of all processes of the contender; shared memory counts once.
- classes and least cosine: agreement with the answers of the first beamsight contender that was run. ray-data,
  daft and tf-data decode large JPEGs at full size; beamsight and beam-runinference at a half or a quarter. This changes
  answers for large images only, because all contenders decode small images in the same way.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import common, material
from benchmarks.common import Figures, Measured

BASELINE = "beam-runinference"
AGAIN = "-again"  # after the name of the contender that runs twice
UNAVAILABLE = 2  # exit code of beamsight and of the contenders here for a missing form or package


@dataclass(frozen=True, slots=True)
class Contender:
    """A command with placeholders such as ``{output}``. ``ceiling`` names the bare engine that it runs on."""

    name: str
    command: tuple[str, ...]
    ceiling: str | None = None
    by_default: bool = True

    @property
    def is_bare(self) -> bool:
        """Whether this is an engine without a pipeline."""
        return self.name.startswith("bare-")


def _peer(name: str, module: str) -> Contender:
    placeholders = {"pictures": "folder", "classifier": "classifier", "embedder": "embedder", "output": "output"}
    options = (part for option, placeholder in placeholders.items() for part in (f"--{option}", f"{{{placeholder}}}"))
    return Contender(name, (sys.executable, "-m", f"benchmarks.peers.{module}", *options))


def _engine_contenders(engine: str, precision: str, by_default: bool) -> tuple[Contender, Contender]:
    """Return the bare engine, and beamsight with this engine."""
    form = precision if engine == "openvino" else engine
    settings = ("--engine", engine, "--precision", precision)
    models = ("--classifier", "{classifier}", "--embedder", "{embedder}")
    bare = (sys.executable, "-m", "benchmarks.bare", *models, "--pictures", "{count}", *settings)
    run = (*common.BEAMSIGHT, "run", "--images", "{folder}", "--output", "{output}", *models, *settings)
    return (
        Contender(f"bare-{form}", bare, by_default=by_default),
        Contender(f"beamsight-{form}", run, f"bare-{form}", by_default),
    )


CONTENDERS = (
    _peer(BASELINE, "beam_runinference"),
    _peer("ray-data", "ray_data"),
    _peer("daft", "daft_images"),
    _peer("tf-data", "tf_data"),
    *_engine_contenders("openvino", "f32", True),
    *_engine_contenders("openvino", "bf16", True),
    *_engine_contenders("openvino", "int8", True),
    *_engine_contenders("tensorflow", "f32", False),
)
NAMES = [contender.name for contender in CONTENDERS]


class Race:
    """Runs the contenders and collects their measurements and answers."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self._classifier, self._embedder = material.bundles(arguments)
        self._count: int = arguments.pictures
        self._scratch = scratch
        self.one: defaultdict[str, list[Measured]] = defaultdict(list)
        self.all: defaultdict[str, list[Measured]] = defaultdict(list)
        self.answers: dict[str, tuple[dict[str, int], material.Vectors]] = {}
        self.unavailable: dict[str, str] = {}

    def run(self, contender: Contender) -> None:
        """Run one repetition of a contender."""
        for count in [self._count] if contender.is_bare else [1, self._count]:
            self.run_once(contender, count)

    def run_once(self, contender: Contender, count: int) -> None:
        """Run a contender on one image or on all. Skip contenders that failed before."""
        if contender.name in self.unavailable:
            return
        folder = material.one_picture() if count == 1 else material.pictures(count)
        with tempfile.TemporaryDirectory(dir=self._scratch) as output:
            placeholders = {"classifier": self._classifier, "embedder": self._embedder, "count": count}
            command = [part.format(folder=folder, output=output, **placeholders) for part in contender.command]
            done = common.measure(command)
            if done.code:
                prefix = "" if done.code == UNAVAILABLE else f"exit code {done.code}: "
                self.unavailable[contender.name] = f"{prefix}{done.message}"
                return
            if not contender.is_bare and count > 1:
                self.answers.setdefault(contender.name, material.read_answers(Path(output)))
        (self.one if count == 1 else self.all)[contender.name].append(done)
        common.progress(f"{contender.name}, {count} {'image' if count == 1 else 'images'}: {done.seconds:.1f} s")

    def report(self, contender: Contender, figures: Figures) -> None:
        """Add the figures of a contender, which are medians."""
        name = contender.name
        if name in self.unavailable:
            figures.not_available(name, self.unavailable[name])
            return
        whole = statistics.median(done.seconds for done in self.all[name])
        peak = max(done.peak for done in self.all[name])
        if contender.is_bare:
            seconds = statistics.median(json.loads(done.output)["seconds"] for done in self.all[name])
            figures.add(name, "steady", self._count / seconds, "images/s", BASELINE)
        else:
            one = statistics.median(done.seconds for done in self.one[name])
            steady = (self._count - 1) / (whole - one)
            figures.add(name, "steady", steady, "images/s", BASELINE, self._spread(name, one))
            figures.add(name, "with start-up", self._count / whole, "images/s", BASELINE)
            figures.add(name, "one picture", one, "s", BASELINE)
            ceiling = figures.find(contender.ceiling, "steady")
            if ceiling is not None and abs(steady / ceiling.value - 1) > figures.noise:
                figures.add(name, f"share of {contender.ceiling}", 100 * steady / ceiling.value, "%")
        figures.add(name, "peak memory", peak / 1e6, "MB", BASELINE)
        if name in self.answers:
            self._compare(name, figures)

    def measure_noise(self, name: str) -> float | None:
        """Return the relative difference between the two steady figures of a contender. None if one is missing."""
        both = []
        for each in (name, name + AGAIN):
            if not self.all[each] or not self.one[each]:
                return None
            whole, one = (statistics.median(done.seconds for done in group[each]) for group in (self.all, self.one))
            both.append(1 / (whole - one))
        return abs(both[1] / both[0] - 1)

    def _spread(self, name: str, one: float) -> tuple[float, float]:
        """Return the least and the greatest steady figure of the repetitions."""
        steady = [(self._count - 1) / (done.seconds - one) for done in self.all[name]]
        return min(steady), max(steady)

    def _compare(self, name: str, figures: Figures) -> None:
        model = next((each for each in NAMES if each.startswith("beamsight") and each in self.answers), None)
        if model is None or model == name:
            return
        (classes, vectors), (expected, expected_vectors) = self.answers[name], self.answers[model]
        plain = {picture for picture in expected if not material.is_decoded_scaled(picture)}
        for what, pictures in ((f"classes of {model}", set(expected)), ("the same, small pictures", plain)):
            same = sum(classes.get(picture) == expected[picture] for picture in pictures)
            figures.add(name, what, 100 * same / len(pictures), "%")
        cosines = material.cosines(vectors, expected_vectors)
        if len(cosines):
            figures.add(name, f"least cosine to {model}", float(cosines.min()), "")

    def details(self) -> dict[str, dict[str, list[float]]]:
        """Return the seconds of every repetition, for the JSON file."""
        return {
            key: {name: [round(done.seconds, 3) for done in times] for name, times in group.items()}
            for key, group in (("seconds_for_one", self.one), ("seconds_for_all", self.all))
        }


def main() -> None:
    """Run all repetitions, then print the figures."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--pictures", type=int, default=48, metavar="N", help="number of images (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        metavar="NAME",
        help=f"contenders to run: {', '.join(NAMES)} (default: all except *-tensorflow)",
    )
    arguments = parser.parse_args()
    if arguments.pictures < 2 or arguments.repetitions < 1:
        parser.error("--pictures must be at least 2, and --repetitions at least 1")
    chosen = [c for c in CONTENDERS if (c.name in arguments.only if arguments.only else c.by_default)]
    first = next((contender for contender in chosen if contender.ceiling), chosen[0])
    twice = dataclasses.replace(first, name=first.name + AGAIN)
    figures = Figures(arguments)
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as scratch:
        race = Race(arguments, Path(scratch))
        for repetition in range(arguments.repetitions):
            common.progress(f"repetition {repetition + 1} of {arguments.repetitions}")
            for contender in (*chosen, twice):
                race.run(contender)
        if (noise := race.measure_noise(first.name)) is not None:
            figures.noise = noise
            figures.add(first.name, "noise", 100 * noise, "%")
        for contender in chosen:
            race.report(contender, figures)
    figures.write(pictures=arguments.pictures, repetitions=arguments.repetitions, **race.details())


if __name__ == "__main__":
    main()
