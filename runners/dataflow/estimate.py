"""Estimate the time and the price of a job, from figures that the user can replace."""

from __future__ import annotations

from dataclasses import dataclass

from beamsight.text import count, duration
from runners.dataflow import prices
from runners.dataflow.machine import Machine
from runners.dataflow.prices import Rates
from runners.dataflow.submit_options import Figures
from transforms.history import units
from transforms.inference.spec import EngineName, Precision

ASSUMED_IMAGES = 1_000_000
START_SECONDS = 300.0  # estimate: start the machines, download the container image, load the models


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of a job.

    speed: Images per second of one machine, or None if unknown.
    hour: USD per hour of one machine, or None if unknown.
    """

    figures: Figures
    images: int
    units: int
    unit_size: int
    machines: int
    speed: float | None
    hour: float | None

    @property
    def seconds(self) -> float | None:
        """Seconds from the start of the machines to their end, or None if unknown."""
        if self.speed is None:
            return None
        return START_SECONDS + self.images / (self.speed * self.machines)

    @property
    def price(self) -> float | None:
        """USD for the machines, or None if unknown. Requests, traffic and the shuffle cost little in comparison."""
        if self.seconds is None or self.hour is None:
            return None
        return self.machines * self.hour * self.seconds / 3600

    def rows(self) -> list[tuple[str, str]]:
        """Return each figure, its source, and the option that replaces it."""
        counted = "" if self.figures.count is not None else " assumed (set it with --count)"
        unknown = "unknown, pass "
        machines = count(self.machines, "machine")
        return [
            ("images to do", f"{self.images:,}{counted}, if none of them is in the tables yet"),
            ("units", f"{self.units:,} of up to {self.unit_size:,} images, one file each per table"),
            (
                "images/s",
                f"{self.speed:.3g} per machine, {_source(self.figures.images_per_second, '--images-per-second')}"
                if self.speed is not None
                else f"{unknown}--images-per-second",
            ),
            (
                "machine price",
                f"{self.hour:.3f} USD per hour, {_source(self.figures.machine_price, '--machine-price')}"
                if self.hour is not None
                else f"{unknown}--machine-price",
            ),
            (
                "time",
                f"{duration(self.seconds)} on {machines}, including {duration(START_SECONDS)} to start"
                if self.seconds is not None
                else "unknown",
            ),
            ("price", f"{self.price:,.2f} USD for the machines" if self.price is not None else "unknown"),
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
    rates: Rates = prices.BATCH,
) -> Estimate:
    """Estimate a job. ``figures`` take precedence over the tables in ``machine``."""
    images = figures.count or ASSUMED_IMAGES
    number = units.number_of_units(images, unit_size, workers)
    return Estimate(
        figures=figures,
        images=images,
        units=number,
        unit_size=unit_size,
        machines=min(workers, number),
        speed=figures.images_per_second or machine.images_per_second(models, engine, precision),
        hour=figures.machine_price or machine.price_per_hour(rates),
    )


def _source(given: float | None, option: str) -> str:
    return f"from {option}" if given is not None else f"estimated (set it with {option})"
