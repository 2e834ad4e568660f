"""Find the days that earlier nightly runs did not complete, from the reports in ``OUTPUT/runs``.

A day is complete when the last run for it finished, found images for it, and left no transient failure. If ``--images``
has a ``{date}`` field, a run that started before the end of that day does not complete it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from runners.nights import day_patterns
from transforms.errors import BeamsightError
from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import layout

_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})T.*\.json")  # file name of a report
_THREADS = 16


class _Past(NamedTuple):
    """What the report of an earlier run says about days. settles: whether it completes all days but ``waiting``."""

    started: datetime
    patterns: frozenset[str]
    days: frozenset[str]
    waiting: frozenset[str]
    settles: bool


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
    names = {stat.uri: _day_of(stat.uri) for stat in files.walk(layout.folder(output, "runs"), recursive=False)}
    begin = window[0] - timedelta(days=1)  # The file names have the day in UTC.
    recent = [uri for uri, started in names.items() if started and started >= begin]
    past = [run for run in prefetch(recent, _read, threads=_THREADS, window=2 * _THREADS) if run]
    past.sort(key=lambda run: run.started)
    if not any(started and started < begin for started in names.values()):
        first = min((each for run in past for each in run.days), default=f"{day}")
        window = [each for each in window if f"{each}" >= first]
    may_grow = any(map(day_patterns.names_today, patterns))
    return [each for each in window if not _is_complete(each, past, frozenset(patterns), zone, may_grow)]


def _is_complete(day: date, past: Sequence[_Past], patterns: frozenset[str], zone: tzinfo, may_grow: bool) -> bool:
    last = next((run for run in reversed(past) if f"{day}" in run.days and patterns <= run.patterns), None)
    if last is None or not last.settles or f"{day}" in last.waiting:
        return False
    return not may_grow or last.started.astimezone(zone).date() > day


def _day_of(uri: str) -> date | None:
    found = _DAY.fullmatch(files.name(uri))
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _read(uri: str) -> _Past | None:
    """None for the report of another command, and for a damaged one: what it says nothing of is listed again."""
    try:
        report: dict[str, Any] = json.loads(files.read(uri)[0])
        night = report["options"].get("night")
        return night and _Past(
            started=datetime.fromisoformat(report["started_at"]),
            **{name: frozenset(night[name]) for name in ("patterns", "days", "waiting")},
            settles=report["state"] == "done" and not report["counts"]["failed_for_now"],
        )
    except (BeamsightError, KeyError, TypeError, ValueError, AttributeError):
        return None
