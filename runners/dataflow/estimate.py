"""How long a job may take and what it may cost, from figures that its user sees and can change."""

from __future__ import annotations

from dataclasses import dataclass

from beamsight.text import count, duration
from runners.dataflow.machine import Machine
from runners.dataflow.submit_options import Figures
from transforms.history import units
from transforms.inference.spec import EngineName, Precision

ASSUMED_IMAGES = 1_000_000
START_SECONDS = 300.0  # until machines are up, have their image and have loaded the models; an estimate


@dataclass(frozen=True, slots=True)
class Estimate:
    """speed: images a second of one machine. hour: USD of one machine. None where neither is known nor was said."""

    figures: Figures
    images: int
    units: int
    unit_size: int
    machines: int
    speed: float | None
    hour: float | None

    @property
    def seconds(self) -> float | None:
        """From the start of the machines to their end."""
        if self.speed is None:
            return None
        return START_SECONDS + self.images / (self.speed * self.machines)

    @property
    def price(self) -> float | None:
        """USD for the machines. The bucket's requests and traffic, and the shuffle of refs, are small beside it."""
        if self.seconds is None or self.hour is None:
            return None
        return self.machines * self.hour * self.seconds / 3600

    def lines(self) -> list[tuple[str, str]]:
        """As a table for a person: each figure, where it is from, and how to change it."""
        counted = "" if self.figures.count is not None else ", assumed: say --count"
        unknown = "not known: say "
        machines = count(self.machines, "machine")
        return [
            ("images to do", f"{self.images:,}{counted}, if the tables hold none of them"),
            ("units", f"{self.units:,} of up to {self.unit_size:,} images: files a table"),
            (
                "images/s",
                f"{self.speed:.3g} a machine, {_source(self.figures.images_per_second, '--images-per-second')}"
                if self.speed is not None
                else f"{unknown}--images-per-second",
            ),
            (
                "a machine hour",
                f"{self.hour:.3f} USD, {_source(self.figures.machine_price, '--machine-price')}"
                if self.hour is not None
                else f"{unknown}--machine-price",
            ),
            (
                "time",
                f"{duration(self.seconds)} on {machines}, including {duration(START_SECONDS)} to start"
                if self.seconds is not None
                else "not known",
            ),
            ("price", f"{self.price:,.2f} USD for the machines" if self.price is not None else "not known"),
        ]


def estimate_job(
    figures: Figures,
    machine: Machine,
    *,
    models: list[str],
    engine: EngineName,
    precision: Precision,
    unit_size: int,
    workers: int,
) -> Estimate:
    """The estimate of a job; what ``figures`` say goes before the tables of ``machine``."""
    images = figures.count or ASSUMED_IMAGES
    pieces = units.number_of_units(images, unit_size, workers)
    return Estimate(
        figures=figures,
        images=images,
        units=pieces,
        unit_size=unit_size,
        machines=min(workers, pieces),
        speed=figures.images_per_second or machine.images_per_second(models, engine, precision),
        hour=figures.machine_price or machine.hour(),
    )


def _source(said: float | None, option: str) -> str:
    return "as you said" if said is not None else f"estimated: {option} says it better"
