"""OUTPUT/runs -> the runs of a night and of the nights before it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from transforms.errors import BeamsightError, UsageError
from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import layout

NIGHTS = 14

_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})T")  # how the name of a run begins
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its report tells it. ``state``: done, failed, or running, which also those say that were killed.

    ok: rows by table. failed: images by stage. reasons: by ``<stage>/<error>``. seconds_by_step: summed over threads.
    problems: messages by kind. models: metadata by table, such as ``predictions/model=efficientnet-b7-1a2b3c4d``.
    """

    run_id: str
    state: str
    error: str | None
    started: datetime
    seconds: float
    images: int
    listed: int
    ignored: int
    duplicates: int
    already_done: int
    failed_before: int
    bytes: int
    ok: Mapping[str, int]
    failed: Mapping[str, int]
    reasons: Mapping[str, int]
    seconds_by_step: Mapping[str, float]
    problems: Mapping[str, str]
    models: Mapping[str, Mapping[str, str]]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    host: Mapping[str, Any]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Run:
        """What ``run_report.compose`` made. Raises KeyError, TypeError or ValueError for anything else."""
        counts = report["counts"]
        return cls(
            state=str(report["state"]),
            started=datetime.fromisoformat(report["started_at"]),
            **{name: counts[name] for name in ("images", "listed", "ignored", "duplicates", "already_done")},
            **{name: counts[name] for name in ("failed_before", "bytes", "ok", "failed")},
            **{name: report[name] for name in ("run_id", "error", "seconds", "reasons", "seconds_by_step")},
            problems={problem["kind"]: problem["message"] for problem in report.get("problems", ())},
            **{name: report[name] for name in ("models", "options", "versions", "host")},
        )

    @property
    def day(self) -> date:
        """The day whose folders ``dt=<day>`` hold its rows."""
        return self.started.date()

    @property
    def done(self) -> bool:
        """Whether it came to its end, so that its counts are what the tables hold."""
        return self.state == "done"

    def tables(self, kind: str) -> list[str]:
        """Its tables of a kind, ``predictions`` or ``embeddings``."""
        return [table for table in self.models if table.startswith(f"{kind}/")]


@dataclass(frozen=True, slots=True)
class Nights:
    """The runs that a report tells of, and those of the nights up to it, all by the time they started.

    chosen: of one night, or one run. day: theirs. recent: the runs of ``NIGHTS`` days that end with ``day``, ``chosen``
    among them. unreadable: reports that are none, with the reason.
    """

    day: date
    chosen: tuple[Run, ...]
    recent: tuple[Run, ...]
    unreadable: tuple[str, ...]

    def days(self) -> list[date]:
        """The days of the charts, oldest first."""
        return [self.day - timedelta(days=back) for back in reversed(range(NIGHTS))]


def find(output: str, day: date | None = None, run_id: str | None = None) -> Nights:
    """The runs of a day, or one run; by default those of the newest day.

    Only the reports that are needed are read, for the names of runs begin with their time. Raises UsageError where
    there is no such run.
    """
    folder = layout.folder(output, "runs")
    names = {stat.uri: files.name(stat.uri) for stat in files.walk(folder, recursive=False)}
    days = {uri: _day_of(name) for uri, name in names.items() if name.endswith(".json")}
    if not days:
        raise UsageError(f"{output}: there is no run report below {folder}; is it the --output of `beamsight run`?")
    if run_id is not None:
        uri = next((uri for uri in days if names[uri] == f"{run_id}.json"), None)
        if uri is None:
            raise UsageError(f"--run {run_id}: {folder} has no such run; the newest is {max(names.values())[:-5]}")
        day = days[uri]
    known = [found for found in days.values() if found]
    last = day or max(known, default=None)
    first = last - timedelta(days=NIGHTS - 1) if last else None
    # One whose name tells no day is read, to see.
    wanted = [uri for uri, found in days.items() if not (found and first and last) or first <= found <= last]
    runs, unreadable = _read(sorted(wanted))
    chosen = [run for run in runs if (run.run_id == run_id if run_id else run.day == (last or runs[-1].day))]
    if not chosen:
        raise UsageError(_nothing(folder, day, run_id, known, unreadable))
    day = chosen[-1].day
    recent = tuple(run for run in runs if day - timedelta(days=NIGHTS) < run.day <= day)
    return Nights(day, tuple(chosen), recent, tuple(unreadable))


def _day_of(name: str) -> date | None:
    found = _DAY.match(name)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _read(uris: Sequence[str]) -> tuple[list[Run], list[str]]:
    runs, unreadable = [], []
    for read in prefetch(uris, _read_one, threads=_THREADS, window=2 * _THREADS):
        if isinstance(read, Run):
            runs.append(read)
        else:
            unreadable.append(read)
    return sorted(runs, key=lambda run: (run.started, run.run_id)), sorted(unreadable)


def _read_one(uri: str) -> Run | str:
    """A run, or why there is none: a night must have its report also where one file of many is damaged."""
    try:
        data, _ = files.read(uri)
        return Run.of(json.loads(data))
    except (BeamsightError, KeyError, TypeError, ValueError) as error:
        return f"{files.name(uri)}: {type(error).__name__}: {error}"


def _nothing(folder: str, day: date | None, run_id: str | None, known: Sequence[date], unreadable: list[str]) -> str:
    if unreadable and (run_id or day is None or day in known):
        return f"{folder} has no report that can be read: {unreadable[0]}"
    near = sorted(set(known), key=lambda other: abs(other - day))[:3] if day else []
    return f"--date {day}: no run started on that day (UTC); there are runs of {', '.join(map(str, sorted(near)))}"
