"""Nights for tests: drawn pictures through the real steps, on days of one's choice, with engines that see colours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np

from beamsight.reports import run_report
from beamsight.reports.run_report import State
from transforms import counts, process
from transforms.history.units import make_unit
from transforms.imaging import drawn
from transforms.inference.concurrent import Model
from transforms.inference.engine import Floats, Pixels
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.process import Settings
from transforms.records import ImageRef, Work
from transforms.storage import files
from transforms.tables import publish

DAY = date(2026, 11, 20)
COLOURS = {
    "red": (196, 58, 58),
    "orange": (214, 132, 62),
    "yellow": (206, 196, 84),
    "green": (82, 158, 84),
    "teal": (72, 156, 160),
    "blue": (66, 88, 190),
    "violet": (136, 78, 176),
    "pink": (212, 128, 180),
    "grey": (128, 128, 128),
    "dark": (52, 52, 52),
    "light": (210, 210, 206),
}
SIDE = 6  # of the mosaic that a vector is


@dataclass
class ColourEngine:
    """Probabilities by how near the mean colour of a picture is to those of the palette."""

    batch: int = 16
    parallel: int = 1
    sharpness: float = 900.0

    def infer(self, pixels: Pixels) -> Floats:
        means = pixels.mean(axis=(1, 2), dtype=np.float64)
        apart = ((means[:, None] - np.array(list(COLOURS.values()))) ** 2).sum(axis=-1)
        shares = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / self.sharpness)
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass
class MosaicEngine:
    """Vectors: a picture in 6 x 6 stones, less middle grey. ``spoil`` may change them."""

    batch: int = 16
    parallel: int = 1
    spoil: Callable[[Floats], Floats] = lambda vectors: vectors

    def infer(self, pixels: Pixels) -> Floats:
        stone = pixels.shape[1] // SIDE
        stones = pixels.reshape(len(pixels), SIDE, stone, SIDE, stone, 3).mean(axis=(2, 4), dtype=np.float32)
        return self.spoil((stones.reshape(len(pixels), -1) - 127.5) / 64)


def classifier(name: str = "colours", engine: ColourEngine | None = None) -> Model:
    spec = ModelSpec(name=name, task="classify", size=24, width=len(COLOURS), output="probabilities")
    recipe = Recipe(spec, bundle="", content_hash=name, source="drawn", engine="openvino")
    return Model(recipe, engine or ColourEngine(), tuple(Label(None, colour) for colour in COLOURS))


def embedder(name: str = "mosaic", engine: MosaicEngine | None = None) -> Model:
    spec = ModelSpec(name=name, task="embed", size=24, width=3 * SIDE * SIDE, output="features")
    return Model(
        Recipe(spec, bundle="", content_hash=name, source="drawn", engine="openvino"), engine or MosaicEngine(), ()
    )


def pictures(seeds: Sequence[int], width: int = 96, height: int = 72) -> dict[str, bytes]:
    """Names and bytes of pictures."""
    return {f"{seed:05}.jpg": drawn.encode(drawn.draw(seed, width, height), quality=88) for seed in seeds}


@dataclass
class Nights:
    """An output that grows night by night. photos: where the pictures go."""

    output: str
    photos: str
    models: Sequence[Model] = field(default_factory=lambda: (classifier(), embedder()))
    done: int = 0
    runs: list[str] = field(default_factory=list)

    def run(
        self,
        images: Mapping[str, bytes],
        day: date = DAY,
        *,
        hour: int = 2,
        state: State = "done",
        error: str | None = None,
        seconds: float | None = None,
        models: Sequence[Model] | None = None,
        unit_size: int = 64,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Store the images and do them -> the run's report. Unless ``done``, it ends after half of the units.

        These stay unpublished until the next run.
        """
        models = self.models if models is None else models
        started = datetime(day.year, day.month, day.day, hour, 4, tzinfo=timezone.utc)
        run_id = f"{started:%Y%m%dT%H%M%SZ}-{len(self.runs):06x}"
        tables = {model.recipe.table: model.recipe.metadata() for model in models}
        asked = {"images": [f"{self.photos}/**"], "output": self.output, "max_failures": "10%", **(options or {})}
        versions = {"beamsight": "0.1.0", "python": "3.11.2"}
        run = run_report.Run(run_id, self.output, started, asked, tables, versions, {"name": "night", "cpus": 2})
        work = []
        for name, data in images.items():
            uri = f"{self.photos}/{name}"
            if not files.exists(uri) or files.read(uri)[0] != data:
                files.write(uri, data)  # else it keeps its version
            work.append(Work(ImageRef(uri, files.stat(uri).version), tuple(tables)))
        units = [make_unit(work[start : start + unit_size], f"{day}") for start in range(0, len(work), unit_size)]
        settings = Settings(self.output, f"{day}", run_id, "0.1.0")
        left = units if state == "done" else units[: (len(units) + 1) // 2]
        self._publish(run_id)  # what an earlier run left
        tallies = [process.process_unit(unit, list(models), settings)[1] for unit in left]
        if state == "done":
            self._publish(run_id)
        tally = counts.total(tallies)
        tally += Counter({"listed": len(images) + self.done, "done before": self.done, "missing": len(images)})
        took = timedelta(seconds=seconds or 1 + 0.4 * len(images))
        made = run_report.compose(Counter() if state == "running" else tally, run, started + took, state, error)
        files.write(run.uri, json.dumps(made).encode())
        self.done += len(images)
        self.runs.append(run_id)
        return made

    def _publish(self, run_id: str) -> None:
        for units in publish.list_leftovers(self.output).values():
            for group in publish.group(units):
                publish.publish(group, self.output, "", run_id)


def fortnight(nights: Nights, per_night: int = 20) -> None:
    """13 nights before ``DAY``: one missed, one killed, some with failures."""
    for back in range(13, 0, -1):
        if back == 5:
            continue
        seeds = range(1000 * back, 1000 * back + per_night * (8 + back * 5 % 7) // 10)
        images = pictures(seeds)
        if back % 3 == 0:
            images["broken.jpg"] = images[next(iter(images))][:900]
        nights.run(
            images,
            DAY - timedelta(days=back),
            state="running" if back == 8 else "done",
            unit_size=8,
            seconds=len(images) / (2 + back * 3 % 5 / 9),
        )
