"""Sums over the runs of the page's day and of each day before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from beamsight.reports import parts
from beamsight.reports.runs import Run, Selection
from transforms.tables import layout


@dataclass(frozen=True, slots=True)
class Written:
    """What an unfinished run wrote to the tables: rows by table, and failures."""

    rows: Mapping[str, int]
    failed: int

    @property
    def images(self) -> int:
        """The number of rows in the table with the most rows."""
        return max(self.rows.values(), default=0)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over runs. For an unfinished run, done and failed count its rows in the tables.

    Attributes:
        unfinished: Runs that are not done.
        done: New images without a failure.
        failed: New images with a failure.
        already_done, failed_before, duplicates: Skipped images. Each run that lists an image counts it once.
        seconds: Duration of the finished runs that processed images, including start-up.
        images: Images that these runs processed.
        steps: Seconds by step, summed over threads.
        reasons: Failures by ``<stage>/<error>``.
    """

    runs: int
    unfinished: int
    done: int
    failed: int
    already_done: int
    failed_before: int
    duplicates: int
    ignored: int
    bytes: int
    seconds: float
    images: int
    steps: Mapping[str, float]
    reasons: Mapping[str, int]

    @property
    def new(self) -> int:
        """Images that were missing from a table and were processed, with or without a failure."""
        return self.done + self.failed

    @property
    def skipped(self) -> int:
        """Images that were listed but not processed."""
        return self.already_done + self.failed_before + self.duplicates

    @property
    def failure_share(self) -> float | None:
        """Share of the new images that failed, 0..1; None without new images."""
        return self.failed / self.new if self.new else None

    @property
    def rate(self) -> float | None:
        """Images per second of the finished runs; None if they processed no image."""
        return self.images / self.seconds if self.seconds and self.images else None


def add_up(runs: Sequence[Run], written: Mapping[str, Written]) -> Totals:
    """Add up the counts of runs.

    Args:
        runs: The runs.
        written: What each unfinished run wrote, by run ID.
    """
    done = [run for run in runs if run.done]
    productive = [run for run in done if run.images]
    steps: Counter[str] = Counter()  # A Counter adds up seconds as well as counts.
    reasons: Counter[str] = Counter()
    for run in done:
        steps.update(run.seconds_by_step)
        reasons.update(run.reasons)
    failed = sum(sum(run.failed.values()) for run in done)
    unfinished = [written[run.run_id] for run in runs if not run.done]
    return Totals(
        runs=len(runs),
        unfinished=len(unfinished),
        done=sum(run.images for run in done) - failed + sum(each.images for each in unfinished),
        failed=failed + sum(each.failed for each in unfinished),
        already_done=sum(run.already_done for run in done),
        failed_before=sum(run.failed_before for run in done),
        duplicates=sum(run.duplicates for run in done),
        ignored=sum(run.ignored for run in done),
        bytes=sum(run.bytes for run in done),
        seconds=sum(run.seconds for run in productive),
        images=sum(run.images for run in productive),
        steps=dict(steps.most_common()),
        reasons=dict(reasons.most_common()),
    )


def count_unfinished(output: str, runs: Sequence[Run]) -> dict[str, Written]:
    """Count what each unfinished run wrote to the tables, by run ID."""
    return {run.run_id: _written_by(output, run) for run in runs if not run.done}


def _written_by(output: str, run: Run) -> Written:
    def rows(table: str) -> int:
        return parts.count_rows(parts.list_days(output, table, run.partitions))[run.run_id]

    return Written({table: rows(table) for table in run.models}, rows(layout.FAILURES))


def add_up_by_day(selection: Selection, written: Mapping[str, Written]) -> dict[date, Totals | None]:
    """Return the sums for each day of the charts; None for a day without a run."""
    totals: dict[date, Totals | None] = {}
    for day in selection.days():
        runs = [run for run in selection.recent if run.day == day]
        totals[day] = add_up(runs, written) if runs else None
    return totals
