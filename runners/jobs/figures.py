"""The figures of a job in progress, and their text."""

from __future__ import annotations

from dataclasses import dataclass

from beamsight.text import count, duration
from transforms import counts
from transforms.counts import Tally


@dataclass(frozen=True, slots=True)
class Figures:
    """What progress shows. elapsed: seconds. speed: images/s since the first image, None if not known yet.

    shards: Number of shards to open, whose images are not all known yet.
    """

    listed: int
    total: int
    done: int
    skipped: int
    failures: int
    elapsed: float
    speed: float | None
    shards: int = 0

    @classmethod
    def of(cls, tally: Tally, elapsed: float, speed: float | None) -> Figures:
        """Return the figures of the counts so far."""
        failures = sum(counts.family(tally, counts.FAILED).values())
        skipped = tally[counts.DONE_BEFORE] + tally[counts.FAILED_BEFORE]
        shards = tally[counts.SHARDS] - tally[counts.SHARDS_DONE]
        numbers = (tally[counts.LISTED], tally[counts.MISSING], tally[counts.IMAGES], skipped, failures)
        return cls(*numbers, elapsed, speed, shards)

    def stage(self) -> str:
        """Return what the job does before it finishes the first image."""
        if self.total:
            return f"loading models, {count(self.total, 'image')} to do"
        if self.shards:
            return f"opening {count(self.shards, 'shard')}"
        if self.skipped:
            return "no images to do"
        return f"listing images, {self.listed:,} so far" if self.listed else "listing images"

    def share(self) -> str:
        """Return the finished share of all images in percent, rounded down."""
        return f"{100 * self.done // self.total if self.total else 0}%"

    def rates(self) -> list[str]:
        """Return the speed, the time elapsed and the time left, each if it is known."""
        elapsed = f"{duration(self.elapsed)} elapsed"
        if not self.speed:
            return [elapsed]
        rates = [f"{self.speed:.{1 if self.speed >= 1 else 2}f} images/s", elapsed]
        if self.done < self.total:
            rates.append(f"{duration((self.total - self.done) / self.speed)} left")
        return rates


def line(figures: Figures) -> str:
    """Return the figures as one line: ``120 of 512 images (23%), 4.1 images/s, 29 s elapsed, ...``."""
    if not figures.done:
        return figures.stage()
    done = f"{figures.done:,} of {count(figures.total, 'image')} ({figures.share()})"
    return ", ".join([done, *figures.rates(), count(figures.failures, "failure")])
