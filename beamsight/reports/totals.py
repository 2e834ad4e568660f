"""Runs -> their sums: of the night that is told of, and of each of the nights before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from beamsight.reports import parts
from beamsight.reports.runs import Nights, Run
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
    """Sums over runs. Of a run that came to no end, done and failed are the rows that it left in the tables.

    new: images that a table lacked; new = done + failed. already_done, failed_before, duplicates: what was skipped,
    counted once by each run that listed it. seconds: of the runs that did images, start-up included. unfinished: runs.
    steps: seconds by step, summed over threads. reasons: failures by ``<stage>/<error>``.
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
        """Images that the runs found missing and finished with, well or not."""
        return self.done + self.failed

    @property
    def skipped(self) -> int:
        """Images that were listed and not tried."""
        return self.already_done + self.failed_before + self.duplicates

    @property
    def failure_share(self) -> float | None:
        """Of the new images, 0..1; None where there are none."""
        return self.failed / self.new if self.new else None

    @property
    def rate(self) -> float | None:
        """Images a second of the runs that came to their end; None where they did none."""
        return self.images / self.seconds if self.seconds and self.images else None


def of_runs(runs: Sequence[Run], written: Mapping[str, Written]) -> Totals:
    """Add up the counts of runs. written: what each unfinished run wrote, by run ID."""
    done = [run for run in runs if run.done]
    working = [run for run in done if run.images]
    steps: Counter[str] = Counter()  # of seconds, which add up as counts do
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
        seconds=sum(run.seconds for run in working),
        images=sum(run.images for run in working),
        steps=dict(steps.most_common()),
        reasons=dict(reasons.most_common()),
    )


def written_by_unfinished(output: str, runs: Sequence[Run]) -> dict[str, Written]:
    """Count what each unfinished run wrote to the tables, by run ID."""
    return {run.run_id: _written_by(output, run) for run in runs if not run.done}


def _written_by(output: str, run: Run) -> Written:
    def rows(table: str) -> int:
        return parts.rows_of_runs(parts.of_day(output, table, run.day))[run.run_id]

    return Written({table: rows(table) for table in run.models}, rows(layout.FAILURES))


def by_day(nights: Nights, written: Mapping[str, Written]) -> dict[date, Totals | None]:
    """The days of the charts -> the sums of their runs; None where no run started."""
    made: dict[date, Totals | None] = {}
    for day in nights.days():
        runs = [run for run in nights.recent if run.day == day]
        made[day] = of_runs(runs, written) if runs else None
    return made
