"""JPEG files -> classes and vectors in Parquet: beamsight, what users would pick instead, and the bare engine.

Every contender runs as a command of its own, once on one picture and once on all of them, and all take turns in each
repetition, so that a noisy minute hits them alike. From the medians:

- steady: images/s once all is loaded, (pictures - 1) / (seconds for all - seconds for one). Of a bare engine:
  pictures / seconds of inference, as it has nothing else to do;
- with start-up: pictures / seconds for all, from the command to its end;
- one picture: seconds from the command to its end;
- peak memory of the contender's processes, libraries and the like counted once;
- classes and least cosine: its answers beside those of the first beamsight in the list that was run. ray-data and
  tf-data decode large JPEGs at full size, beamsight and beam-runinference at half or a quarter; what differs because of
  that does not among the small pictures, which all decode alike.
"""

from __future__ import annotations

import argparse
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
WRONG_USE = 2  # exit code of beamsight, and of our own, for what is not there


@dataclass(frozen=True, slots=True)
class Contender:
    """A command; ``{output}`` and the like are filled in. ceiling: the bare engine that it runs on."""

    name: str
    command: tuple[str, ...]
    ceiling: str | None = None
    by_default: bool = True

    @property
    def is_bare(self) -> bool:
        """Whether it is an engine without a pipeline."""
        return self.name.startswith("bare-")


def _peer(name: str, module: str) -> Contender:
    places = {"pictures": "folder", "classifier": "classifier", "embedder": "embedder", "output": "output"}
    options = (word for option, place in places.items() for word in (f"--{option}", f"{{{place}}}"))
    return Contender(name, (sys.executable, "-m", f"benchmarks.peers.{module}", *options))


def _forms(engine: str, precision: str, by_default: bool) -> tuple[Contender, Contender]:
    """The bare engine and beamsight on it."""
    form = precision if engine == "openvino" else engine
    how = ("--engine", engine, "--precision", precision)
    models = ("--classifier", "{classifier}", "--embedder", "{embedder}")
    alone = (sys.executable, "-m", "benchmarks.bare", *models, "--pictures", "{count}", *how)
    run = (*common.BEAMSIGHT, "run", "--images", "{folder}", "--output", "{output}", *models, *how)
    return (
        Contender(f"bare-{form}", alone, by_default=by_default),
        Contender(f"beamsight-{form}", run, f"bare-{form}", by_default),
    )


CONTENDERS = (
    _peer(BASELINE, "beam_runinference"),
    _peer("ray-data", "ray_data"),
    _peer("tf-data", "tf_data"),
    *_forms("openvino", "f32", True),
    *_forms("openvino", "bf16", True),
    *_forms("openvino", "int8", True),
    *_forms("tensorflow", "f32", False),
)
NAMES = [contender.name for contender in CONTENDERS]


class Race:
    """Runs the contenders and remembers what came of it."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self._classifier, self._embedder = material.bundles(arguments)
        self._count: int = arguments.pictures
        self._scratch = scratch
        self.one: defaultdict[str, list[Measured]] = defaultdict(list)
        self.all: defaultdict[str, list[Measured]] = defaultdict(list)
        self.answers: dict[str, tuple[dict[str, int], material.Vectors]] = {}
        self.lost: dict[str, str] = {}

    def turn(self, contender: Contender) -> None:
        """One repetition of one contender; once it has failed it is not asked again."""
        if contender.name in self.lost:
            return
        counts = [self._count] if contender.is_bare else [1, self._count]
        for count in counts:
            folder = material.one_picture() if count == 1 else material.pictures(count)
            with tempfile.TemporaryDirectory(dir=self._scratch) as output:
                done = common.measure(
                    [
                        word.format(
                            folder=folder,
                            count=count,
                            output=output,
                            classifier=self._classifier,
                            embedder=self._embedder,
                        )
                        for word in contender.command
                    ]
                )
                if done.code:
                    how = "" if done.code == WRONG_USE else f"it ended with code {done.code}: "
                    self.lost[contender.name] = f"{how}{done.message}"
                    return
                if not contender.is_bare and count > 1:
                    self.answers.setdefault(contender.name, material.answers(Path(output)))
            (self.one if count == 1 else self.all)[contender.name].append(done)
            common.progress(f"{contender.name}, {count} pictures: {done.seconds:.1f} s")

    def report(self, contender: Contender, figures: Figures) -> None:
        """The lines of one contender, from the medians."""
        name = contender.name
        if name in self.lost:
            figures.not_available(name, self.lost[name])
            return
        whole = statistics.median(done.seconds for done in self.all[name])
        peak = max(done.peak for done in self.all[name])
        if contender.is_bare:
            seconds = statistics.median(json.loads(done.output)["seconds"] for done in self.all[name])
            figures.add(name, "steady", self._count / seconds, "images/s", BASELINE)
        else:
            one = statistics.median(done.seconds for done in self.one[name])
            steady = (self._count - 1) / (whole - one)
            figures.add(name, "steady", steady, "images/s", BASELINE)
            figures.add(name, "with start-up", self._count / whole, "images/s", BASELINE)
            figures.add(name, "one picture", one, "s", BASELINE)
            ceiling = figures.find(contender.ceiling, "steady")
            if ceiling is not None:
                figures.add(name, f"share of {contender.ceiling}", 100 * steady / ceiling.value, "%")
        figures.add(name, "peak memory", peak / 1e6, "MB", BASELINE)
        if name in self.answers:
            self._compare(name, figures)

    def _compare(self, name: str, figures: Figures) -> None:
        model = next((known for known in NAMES if known.startswith("beamsight") and known in self.answers), None)
        if model is None or model == name:
            return
        (classes, vectors), (expected, expected_vectors) = self.answers[name], self.answers[model]
        plain = {picture for picture in expected if not material.decoded_scaled(picture)}
        for what, pictures in ((f"classes of {model}", set(expected)), ("the same, small pictures", plain)):
            same = sum(classes.get(picture) == expected[picture] for picture in pictures)
            figures.add(name, what, 100 * same / len(pictures), "%")
        cosines = material.cosines(vectors, expected_vectors)
        if len(cosines):
            figures.add(name, f"least cosine to {model}", float(cosines.min()), "")

    def details(self) -> dict[str, dict[str, list[float]]]:
        """Seconds of every repetition."""
        return {
            key: {name: [round(done.seconds, 3) for done in times] for name, times in group.items()}
            for key, group in (("seconds_for_one", self.one), ("seconds_for_all", self.all))
        }


def main() -> None:
    """Race, then report."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--pictures", type=int, default=48, metavar="N", help="default: %(default)s")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        metavar="NAME",
        help=f"some of {', '.join(NAMES)} (default: not *-tensorflow)",
    )
    arguments = parser.parse_args()
    if arguments.pictures < 2 or arguments.repetitions < 1:
        parser.error("at least 2 pictures and 1 repetition")
    chosen = [c for c in CONTENDERS if (c.name in arguments.only if arguments.only else c.by_default)]
    figures = Figures(arguments)
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as scratch:
        race = Race(arguments, Path(scratch))
        for repetition in range(arguments.repetitions):
            common.progress(f"repetition {repetition + 1} of {arguments.repetitions}")
            for contender in chosen:
                race.turn(contender)
        for contender in chosen:
            race.report(contender, figures)
    figures.write(pictures=arguments.pictures, repetitions=arguments.repetitions, **race.details())


if __name__ == "__main__":
    main()
