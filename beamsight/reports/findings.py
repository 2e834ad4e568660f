"""Errors and warnings about a day: the box at the top of the page."""

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
from beamsight.reports.runs import Run, Selection
from beamsight.reports.totals import Totals
from beamsight.reports.vectors import ALIKE, Health
from beamsight.text import count
from transforms.errors import UsageError

MIN_DAYS = 3  # days that a median needs
RISEN = 3.0  # times the median share of failures
LOW = 0.2  # of the median number of new images, or of the median throughput
SHIFT = 0.15  # Kolmogorov-Smirnov distance above which two distributions of scores differ
ENOUGH = 50  # images that a distribution of scores needs
ONE_CLASS = 0.9
COINCIDE = 0.5  # share of images with the vector of another image, above which the model is broken
ENOUGH_CONTENTS = 10  # A few images may all be copies of each other.

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A line in the box.

    Attributes:
        severity: ``error`` if something is broken or above a limit; ``warning`` if it is unusual but may be correct.
        text: One sentence.
        anchor: ID of the section with the details.
    """

    severity: Severity
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data that the checks read.

    Attributes:
        now: Sums of the page's runs.
        before: Sums of each earlier day with a run, oldest first.
        missed: Days without a run, after the first day with one.
        tally, tally_before: Predictions of the day and of the earlier days.
        vectors: Size of the sample.
        health: Invalid vectors in the sample.
    """

    selection: Selection
    now: Totals
    before: Sequence[Totals]
    missed: Sequence[date]
    tally: Tally | None
    tally_before: Tally | None
    vectors: int
    health: Health | None


def find_problems(evidence: Evidence) -> list[Finding]:
    """Return the findings, errors first."""
    problems = [
        *_runs(evidence),
        *_failures(evidence),
        *_amount(evidence),
        *_scores(evidence.tally, evidence.tally_before),
        *(_vectors(evidence.health, evidence.vectors) if evidence.health and evidence.vectors else ()),
    ]
    return sorted(problems, key=lambda finding: finding.severity != "error")


def _runs(evidence: Evidence) -> Iterator[Finding]:
    newest = evidence.selection.recent[-1] if evidence.selection.recent else None
    for run in evidence.selection.runs:
        if run.state == "queued" and run is newest:
            sent = f"{run.started:%Y-%m-%d %H:%M} UTC"
            yield Finding(
                "warning",
                f"Run {run.run_id} did not finish yet: its job was queued at {sent}, and starts within 6 hours.",
                "runs",
            )
        elif run.state in ("queued", "running"):
            why = "was killed" if run is not newest else "is still running or was killed"
            yield Finding("error", f"Run {run.run_id} did not finish: it {why}.", "runs")
        elif not run.done:
            ended = "was interrupted" if run.state == "interrupted" else run.state
            yield Finding("error", f"Run {run.run_id} {ended}: {run.error or 'no reason recorded'}.", "runs")
        elif too_few := run.problems.get(TOO_FEW_IMAGES):
            yield Finding("error", f"Run {run.run_id}: {too_few}.", "numbers")
        night = run.options.get("night") or {}
        for warning in night.get("warnings", ()):
            yield Finding("warning", f"Run {run.run_id}: {warning}.", "runs")
    if evidence.missed:
        days = ", ".join(f"{day.day} {day:%B}" for day in evidence.missed)
        yield Finding("warning", f"No run started on {days}.", "days")
    for text in evidence.selection.unreadable:
        yield Finding("warning", f"Cannot read a run report: {text}.", "runs")
    names = sorted({model["model"] for run in evidence.selection.runs for model in run.models.values()})
    if standins := [name for name in names if name.endswith("-standin")]:
        subject = f"{' and '.join(standins)} {'are stand-ins' if len(standins) > 1 else 'is a stand-in'}"
        yield Finding("warning", f"{subject}: classes, scores and vectors mean nothing.", "tables")


def _failures(evidence: Evidence) -> Iterator[Finding]:
    now, share = evidence.now, evidence.now.failure_share
    if not share:
        return
    allowed = _allowed(evidence.selection.runs[-1])
    failed = f"{now.failed:,} of {count(now.new, 'image')} failed ({percent(share)})"
    shares = [before.failure_share for before in evidence.before if before.failure_share is not None]
    if allowed and not allowed.allows(now.failed, now.new):
        yield Finding("error", f"{failed}, more than --max-failures {allowed} allows.", "failures")
    elif len(shares) >= MIN_DAYS and now.failed >= MIN_DAYS and share > max(0.01, RISEN * median(shares)):
        yield Finding("warning", f"{failed}. The median of earlier days is {percent(median(shares))}.", "failures")


def _allowed(run: Run) -> MaxFailures | None:
    try:
        return MaxFailures.parse(str(run.options.get("max_failures", "")))
    except UsageError:
        return None


def _amount(evidence: Evidence) -> Iterator[Finding]:
    now = evidence.now
    if not now.new:
        why = f"{count(now.skipped, 'listed image')} skipped" if now.skipped else "the sources list no image"
        yield Finding("warning", f"No new images: {why}.", "numbers")
        return
    news = [before.new for before in evidence.before]
    if len(news) >= MIN_DAYS and now.new < LOW * median(news):
        text = f"Only {count(now.new, 'new image')}. The median of earlier days is {median(news):,.0f}."
        yield Finding("warning", text, "days")
    rates = [before.rate for before in evidence.before if before.rate]
    if len(rates) >= MIN_DAYS and now.rate and now.rate < LOW * median(rates):
        text = f"Low throughput: {now.rate:,.2f} images/s. The median of earlier days is {median(rates):,.2f} images/s."
        yield Finding("warning", text, "days")


def _scores(now: Tally | None, before: Tally | None) -> Iterator[Finding]:
    if now is None or now.rows < ENOUGH:
        return
    class_id, images = now.classes.most_common(1)[0]
    if images > ONE_CLASS * now.rows:
        text = f"{percent(images / now.rows)} of the images have the same class, {now.labels[class_id]}."
        yield Finding("warning", text, "classes")
    if before is None or before.rows < ENOUGH or now.mean is None or before.mean is None:
        return
    significant = 1.95 * math.sqrt(1 / now.rows + 1 / before.rows)  # Kolmogorov-Smirnov test, p < 0.001
    if distance(now.scores, before.scores) > max(SHIFT, significant):
        text = f"The scores have shifted: the mean is {now.mean:.2f}, on earlier days {before.mean:.2f}."
        yield Finding("warning", text, "scores")


def distance(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Return the greatest difference between the cumulative shares of two histograms with the same bins, 0..1."""
    shares = [np.cumsum(histogram) / max(histogram.sum(), 1) for histogram in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _vectors(health: Health, size: int) -> Iterator[Finding]:
    problems: Mapping[str, tuple[int, str, str]] = {
        "NaN or infinity": (health.not_finite, "contains", "contain"),
        "only zeros": (health.zero, "contains", "contain"),
        "one repeated value": (health.constant, "contains", "contain"),
    }
    for problem, (number, verb, plural) in problems.items():
        if number:
            text = f"{number:,} of {count(size, 'sampled vector')} {verb if number == 1 else plural} {problem}."
            yield Finding("error", text, "map")
    if health.contents >= ENOUGH_CONTENTS and health.same > COINCIDE * health.contents:
        text = (
            f"{health.same:,} of {health.contents:,} sampled images with different bytes repeat the vector of another."
        )
        yield Finding("error", text, "map")
    if health.median_cosine is not None and health.median_cosine > ALIKE and size >= MIN_DAYS:
        text = f"The vectors are nearly identical: the median cosine is {health.median_cosine:.3f}."
        yield Finding("warning", text, "map")


def percent(share: float) -> str:
    """Format a share, 0..1, as ``40 %`` or ``0.4 %`` with non-breaking spaces."""
    value = 100 * share
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}" if value >= 0.1 else "< 0.1"
    return f"{text} %".replace(" ", "\u00a0")
