"""Findings: which data cause an error or a warning, and which do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pytest

from beamsight.reports import findings
from beamsight.reports.classes import BINS, Tally
from beamsight.reports.findings import Evidence
from beamsight.reports.runs import Nightly, Run, Selection
from beamsight.reports.totals import Totals
from beamsight.reports.vectors import Health

DAY = date(2026, 11, 20)
VALID = Health(not_finite=0, zero=0, constant=0, contents=490, same=0, median_cosine=0.3)


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "run_id": "r1",
        "state": "done",
        "error": None,
        "started": datetime(2026, 11, 20, 2, tzinfo=timezone.utc),
        "seconds": 100.0,
        **dict.fromkeys(("images", "listed", "ignored", "duplicates", "already_done", "failed_before"), 0),
        **dict.fromkeys(("failed_for_now", "bytes"), 0),
        **{name: {} for name in ("ok", "failed", "reasons", "seconds_by_step", "problems", "versions", "host")},
        "models": {"predictions/model=b7-1": {"model": "b7"}},
        "options": {"max_failures": "10%"},
        "nightly": Nightly(),
        "report": {},
    }
    return Run(**(values | changes))


def totals(done: int = 1000, failed: int = 0, **changes: Any) -> Totals:
    base = Totals(
        runs=1,
        unfinished=0,
        done=done,
        failed=failed,
        **dict.fromkeys(("already_done", "failed_before", "duplicates", "ignored", "bytes"), 0),
        seconds=100.0,
        images=done + failed,
        steps={},
        reasons={},
    )
    return replace(base, **changes)


def tally(scores: list[float], classes: dict[int, int] | None = None) -> Tally:
    bins = np.bincount(np.clip((np.array(scores) * BINS).astype(int), 0, BINS - 1), minlength=BINS)
    counted = Counter(classes or {0: len(scores) // 2, 1: len(scores) - len(scores) // 2})
    return Tally(len(scores), float(sum(scores)), bins, counted, {0: "cat", 1: "dog"})


HIGH, LOW = [0.5 + number / 400 for number in range(200)], [0.2 + number / 400 for number in range(200)]


def evidence(**changes: Any) -> Evidence:
    chosen = changes.pop("run", run())
    values: dict[str, Any] = {
        "selection": Selection(DAY, (chosen,), (*changes.pop("earlier", ()), chosen, *changes.pop("later", ())), ()),
        "now": totals(),
        "before": [totals(), totals(1100), totals(900, failed=2)],
        "missed": [],
        "tally": tally(HIGH),
        "tally_before": tally(HIGH * 3),
        "vectors": 500,
        "health": VALID,
    }
    return Evidence(**(values | changes))


def find(**changes: Any) -> list[tuple[str, str]]:
    return [(each.severity, each.text.replace("\u00a0", " ")) for each in findings.find_problems(evidence(**changes))]


def test_no_findings_on_a_normal_day() -> None:
    assert find() == []


@pytest.mark.parametrize(
    ("changes", "severity", "text"),
    [
        ({"run": run(state="running")}, "error", "Run r1 did not finish: it is still running or was killed."),
        ({"run": run(state="running"), "later": (run(run_id="r2"),)}, "error", "Run r1 did not finish: it was killed."),
        ({"run": run(state="queued")}, "warning", "and starts within 6 hours."),
        ({"run": run(state="queued"), "later": (run(run_id="r2"),)}, "error", "Run r1 did not finish: it was killed."),
        ({"run": run(state="failed", error="no space")}, "error", "Run r1 failed: no space."),
        ({"run": run(state="interrupted")}, "error", "Run r1 was interrupted: no reason recorded."),
        ({"run": run(problems={"too few images": "3 images were listed"})}, "error", "Run r1: 3 images were listed."),
        ({"run": run(models={"t": {"model": "b7-standin"}})}, "warning", "b7-standin is a stand-in"),
        (
            {"missed": [date(2026, 11, 18), date(2026, 11, 19)]},
            "warning",
            "No run started on 18 November, 19 November.",
        ),
        (
            {"now": totals(850, failed=150)},
            "error",
            "150 of 1,000 images failed (15 %), more than --max-failures 10% allows.",
        ),
        (
            {"now": totals(970, failed=30)},
            "warning",
            "30 of 1,000 images failed (3.0 %). The median of earlier days is 0 %.",
        ),
        ({"now": totals(0, already_done=70)}, "warning", "No new images: 70 listed images skipped."),
        ({"now": totals(0)}, "warning", "No new images: the sources list no image."),
        ({"now": totals(20)}, "warning", "Only 20 new images. The median of earlier days is 1,000."),
        (
            {"now": totals(seconds=2000.0)},
            "warning",
            "Low throughput: 0.50 images/s. The median of earlier days is 10.00 images/s.",
        ),
        ({"tally": tally(HIGH, {0: 190, 1: 10})}, "warning", "95 % of the images have the same class, cat."),
        (
            {"tally": tally(LOW)},
            "warning",
            "The scores have shifted: the mean is 0.45, on earlier days 0.75.",
        ),
        ({"health": replace(VALID, zero=3)}, "error", "3 of 500 sampled vectors contain only zeros."),
        ({"health": replace(VALID, constant=1)}, "error", "1 of 500 sampled vectors contains one repeated value."),
        ({"health": replace(VALID, not_finite=1)}, "error", "1 of 500 sampled vectors contains NaN or infinity."),
        (
            {"health": replace(VALID, same=246)},
            "error",
            "246 of 490 sampled images with different bytes repeat the vector of another.",
        ),
        ({"health": replace(VALID, median_cosine=0.99)}, "warning", "nearly identical: the median cosine is 0.990."),
    ],
)
def test_findings(changes: dict[str, Any], severity: str, text: str) -> None:
    assert [found for found, message in find(**changes) if text in message] == [severity]


@pytest.mark.parametrize(
    "changes",
    [
        {"now": totals(995, failed=5)},  # half a percent
        {"now": totals(98, failed=2), "before": [totals()]},  # too few days for a median
        {"now": totals(20), "before": [totals()]},
        {"tally": tally(LOW[:40])},  # too few images
        {"tally": tally(LOW), "tally_before": None},
        {"tally": None, "tally_before": None, "health": None, "vectors": 0},
        {"before": []},
        {"health": replace(VALID, same=245)},  # every image and a copy without its EXIF data
        {"health": replace(VALID, contents=3, same=2), "vectors": 3},
    ],
)
def test_no_findings(changes: dict[str, Any]) -> None:
    assert find(**changes) == []


def test_errors_come_first() -> None:
    found = find(missed=[date(2026, 11, 19)], health=replace(VALID, zero=1))
    assert [severity for severity, _ in found] == ["error", "warning"]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "< 0.1 %"), (0.004, "0.4 %"), (0.0999, "10.0 %"), (0.5, "50 %"), (1, "100 %")],
)
def test_percent(share: float, text: str) -> None:
    assert findings.percent(share).replace("\u00a0", " ") == text


def test_the_warnings_of_a_night_are_shown() -> None:
    night = {"patterns": [], "days": [], "waiting": [], "warnings": ["--images inn/{date}: there is no inn/"]}
    (found,) = findings.find_problems(evidence(run=run(options={"max_failures": "10%", "night": night})))
    assert (found.severity, found.text) == ("warning", "Run r1: --images inn/{date}: there is no inn/.")
    night.pop("warnings")  # as early versions wrote it
    assert findings.find_problems(evidence(run=run(options={"max_failures": "10%", "night": night}))) == []
