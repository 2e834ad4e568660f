"""What looks wrong with a night, in words: the box at the top of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from beamsight.reports.classes import Tally
from beamsight.reports.criteria import TOO_FEW_IMAGES, MaxFailures
from beamsight.reports.runs import Nights, Run
from beamsight.reports.totals import Totals
from beamsight.reports.vectors import ALIKE, Health
from transforms.errors import UsageError

FEW_NIGHTS = 3  # nights that it takes to say what is usual
RISEN = 3.0  # times the usual share of failures
LOW = 0.2  # of the usual number of new images, or of the usual speed
SHIFT = 0.15  # the greatest distance of two cumulated distributions of scores, from which they are called different
ENOUGH = 50  # images in each of them
ONE_CLASS = 0.9

Weight = Literal["wrong", "look"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``wrong``: something is broken or above a limit; ``look``: unusual, and maybe all right. anchor: a section."""

    weight: Weight
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is looked at. before: the nights before this one that had a run, oldest first."""

    nights: Nights
    now: Totals
    before: Sequence[Totals]
    missed: Sequence[date]
    tally: Tally | None
    tally_before: Tally | None
    vectors: int
    health: Health | None


def find(evidence: Evidence) -> list[Finding]:
    """What looks wrong, the worst first."""
    found = [
        *_runs(evidence),
        *_failures(evidence),
        *_amount(evidence),
        *_scores(evidence.tally, evidence.tally_before),
        *(_vectors(evidence.health, evidence.vectors) if evidence.health and evidence.vectors else ()),
    ]
    return sorted(found, key=lambda finding: finding.weight != "wrong")


def _runs(evidence: Evidence) -> Iterator[Finding]:
    newest = evidence.nights.recent[-1] if evidence.nights.recent else None
    for run in evidence.nights.chosen:
        if run.state == "running":
            why = "was cut short" if run is not newest else "is still running, or was killed"
            yield Finding("wrong", f"Run {run.run_id} has not come to its end: it {why}.", "runs")
        elif not run.done:
            yield Finding("wrong", f"Run {run.run_id} {run.state}: {run.error or 'no reason was given'}.", "runs")
        elif too_few := run.problems.get(TOO_FEW_IMAGES):
            yield Finding("wrong", f"Run {run.run_id}: {too_few}.", "numbers")
    if evidence.missed:
        days = ", ".join(f"{day.day} {day:%B}" for day in evidence.missed)
        yield Finding("look", f"No run started on {days}.", "nights")
    for text in evidence.nights.unreadable:
        yield Finding("look", f"A run report cannot be read: {text}.", "runs")
    names = sorted({model["model"] for run in evidence.nights.chosen for model in run.models.values()})
    if standins := [name for name in names if name.endswith("-standin")]:
        which = f"{' and '.join(standins)} {'are stand-ins' if len(standins) > 1 else 'is a stand-in'}"
        yield Finding("look", f"{which}: classes, scores and vectors mean nothing.", "tables")


def _failures(evidence: Evidence) -> Iterator[Finding]:
    now, share = evidence.now, evidence.now.failure_share
    if not share:
        return
    allowed = _allowed(evidence.nights.chosen[-1])
    of = f"{now.failed:,} of {now.new:,} images failed, {percent(share)}"
    usual = [before.failure_share for before in evidence.before if before.failure_share is not None]
    if allowed and not allowed.allows(now.failed, now.new):
        yield Finding("wrong", f"{of}: more than the {allowed} that are allowed.", "failures")
    elif len(usual) >= FEW_NIGHTS and now.failed >= FEW_NIGHTS and share > max(0.01, RISEN * median(usual)):
        yield Finding("look", f"{of}; usual is {percent(median(usual))}.", "failures")


def _allowed(run: Run) -> MaxFailures | None:
    try:
        return MaxFailures.parse(str(run.options.get("max_failures", "")))
    except UsageError:
        return None


def _amount(evidence: Evidence) -> Iterator[Finding]:
    now = evidence.now
    if not now.new:
        listed = f"{now.skipped:,} images were listed, and all skipped" if now.skipped else "no image was listed"
        yield Finding("look", f"No new images: {listed}.", "numbers")
        return
    news = [before.new for before in evidence.before]
    if len(news) >= FEW_NIGHTS and now.new < LOW * median(news):
        yield Finding("look", f"Only {now.new:,} new images; usual are {median(news):,.0f}.", "nights")
    rates = [before.rate for before in evidence.before if before.rate]
    if len(rates) >= FEW_NIGHTS and now.rate and now.rate < LOW * median(rates):
        yield Finding("look", f"Slow: {now.rate:,.2f} images a second; usual are {median(rates):,.2f}.", "nights")


def _scores(now: Tally | None, before: Tally | None) -> Iterator[Finding]:
    if now is None or now.rows < ENOUGH:
        return
    class_id, count = now.classes.most_common(1)[0]
    if count > ONE_CLASS * now.rows:
        text = f"{percent(count / now.rows)} of the images are of one class, {now.labels[class_id]}."
        yield Finding("look", text, "classes")
    if before is None or before.rows < ENOUGH or now.mean is None or before.mean is None:
        return
    apart = distance(now.scores, before.scores)
    if apart > max(SHIFT, 1.95 * math.sqrt(1 / now.rows + 1 / before.rows)):  # Kolmogorov and Smirnov, p < 0.001
        text = f"The scores have shifted: their mean is {now.mean:.2f}, on the nights before {before.mean:.2f}."
        yield Finding("look", text, "scores")


def distance(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Two histograms of the same bins -> the greatest distance of their cumulated shares, 0..1."""
    shares = [np.cumsum(histogram) / max(histogram.sum(), 1) for histogram in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _vectors(health: Health, count: int) -> Iterator[Finding]:
    parts: Mapping[str, int] = {
        "hold NaN or infinity": health.not_finite,
        "are all zeros": health.zero,
        "are one number throughout": health.constant,
        "equal the vector of an image with other bytes": health.same,
    }
    for what, number in parts.items():
        if number:
            yield Finding("wrong", f"{number:,} of the {count:,} vectors of the sample {what}.", "map")
    if health.median_cosine is not None and health.median_cosine > ALIKE and count >= FEW_NIGHTS:
        text = f"The vectors are nearly all alike: their median cosine is {health.median_cosine:.3f}."
        yield Finding("look", text, "map")


def percent(share: float) -> str:
    """0..1 -> ``40 %`` or ``0.4 %``, with spaces at which no line is broken."""
    value = 100 * share
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}" if value >= 0.1 else "< 0.1"
    return f"{text} %".replace(" ", "\u00a0")
