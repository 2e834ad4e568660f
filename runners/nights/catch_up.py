"""Find the days that earlier nightly runs did not complete, from the reports in ``OUTPUT/runs``.

A day is complete when the last run for it finished, found images for it, and left no transient failure. If ``--images``
has a ``{date}`` field, a run that started before the end of that day does not complete it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta, tzinfo

from beamsight.reports import runs
from beamsight.reports.runs import Run
from runners.nights import day_patterns


def list_incomplete(output: str, day: date, back: int, patterns: Sequence[str], zone: tzinfo) -> list[date]:
    """Return the incomplete days before ``day``, oldest first.

    Args:
        output: The folder of the tables.
        day: The day of the run.
        back: How many days before ``day`` to check. Days before the first run of all are left out.
        patterns: ``--images`` with day patterns. A run for other patterns completes no day.
        zone: The time zone of the days.
    """
    window = [day - timedelta(days=distance) for distance in range(back, 0, -1)]
    if not window:
        return []
    names = runs.list_reports(output)
    begin = window[0] - timedelta(days=1)  # The file names have the day in UTC.
    recent = [uri for uri, started in names.items() if started and started >= begin]
    past, _ = runs.read_runs(recent)  # The days of a damaged report are listed again.
    if not any(started and started < begin for started in names.values()):
        first = min((each for run in past for each in run.nightly.days), default=f"{day}")
        window = [each for each in window if f"{each}" >= first]
    may_grow = any(map(day_patterns.names_today, patterns))
    return [each for each in window if not _is_complete(each, past, frozenset(patterns), zone, may_grow)]


def _is_complete(day: date, past: Sequence[Run], patterns: frozenset[str], zone: tzinfo, may_grow: bool) -> bool:
    last = next(
        (run for run in reversed(past) if f"{day}" in run.nightly.days and patterns.issubset(run.nightly.patterns)),
        None,
    )
    if last is None or not last.done or last.failed_for_now or f"{day}" in last.nightly.waiting:
        return False
    return not may_grow or last.started.astimezone(zone).date() > day
