"""OUTPUT/runs -> the days that no run has settled, which the next one lists again.

A day is settled when the last run for it came to its end, found images for it, and left no failure to try again. The
day of a run that started before that day was over is not settled by it, where ``--images`` names that very day.
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

_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})T.*\.json")  # the name of a report
_THREADS = 16


class _Past(NamedTuple):
    """What the report of a run says of days."""

    started: datetime
    patterns: frozenset[str]
    days: frozenset[str]
    waiting: frozenset[str]
    settles: bool


def list_incomplete(output: str, day: date, back: int, patterns: Sequence[str], zone: tzinfo) -> list[date]:
    """The days to list besides ``day``, oldest first: of the ``back`` days before it, those that are not settled.

    Days before the first run of all are not looked at: nobody missed them. zone: that days are told in.
    """
    window = [day - timedelta(days=distance) for distance in range(back, 0, -1)]
    if not window:
        return []
    names = {stat.uri: _day_of(stat.uri) for stat in files.walk(layout.folder(output, "runs"), recursive=False)}
    begin = window[0] - timedelta(days=1)  # names tell the day in UTC
    recent = [uri for uri, started in names.items() if started and started >= begin]
    past = [found for found in prefetch(recent, _read, threads=_THREADS, window=2 * _THREADS) if found]
    past.sort(key=lambda run: run.started)
    if not any(started and started < begin for started in names.values()):
        first = min((each for run in past for each in run.days), default=f"{day}")
        window = [each for each in window if f"{each}" >= first]
    grows = any(map(day_patterns.names_today, patterns))
    return [each for each in window if not _settled(each, past, frozenset(patterns), zone, grows)]


def _settled(day: date, past: Sequence[_Past], patterns: frozenset[str], zone: tzinfo, grows: bool) -> bool:
    last = next((run for run in reversed(past) if f"{day}" in run.days and patterns <= run.patterns), None)
    if last is None or not last.settles or f"{day}" in last.waiting:
        return False
    return not grows or last.started.astimezone(zone).date() > day


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
