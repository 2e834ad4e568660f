"""Run reports: list the files in ``OUTPUT/runs``, read them, and choose the runs that a page shows.

This is the only reader of ``OUTPUT/runs/*.json``. ``run_report`` writes these files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from transforms.errors import BeamsightError, UsageError
from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import layout

DAYS = 14  # in the charts

_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})T")  # A run ID begins with the time in UTC.
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Nightly:
    """The days that a run of ``beamsight nightly`` was for; empty for other commands.

    Attributes:
        patterns: The values of ``--images``, before the dates were filled in.
        days: The days, such as ``2026-11-20``.
        waiting: The days for which at least one source had no images yet.
    """

    patterns: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of one run report.

    Attributes:
        state: ``done``, ``failed``, ``interrupted`` or ``running``. A killed run keeps the state ``running``.
        ok: Rows by table.
        failed: Failed images by stage.
        failed_for_now: Transient failures, which the next run tries again.
        reasons: Failed images by ``<stage>/<error>``.
        seconds_by_step: Seconds by step, summed over threads.
        problems: Messages by kind.
        models: Metadata by table, such as ``predictions/model=efficientnet-b7-1a2b3c4d``.
        report: The whole report, as it is stored.
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
    failed_for_now: int
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
    nightly: Nightly
    report: Mapping[str, Any]

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Run:
        """Convert a report that ``run_report.compose`` made.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: The JSON is not a run report.
        """
        counts = report["counts"]
        night = report["options"].get("night")
        return cls(
            state=str(report["state"]),
            started=datetime.fromisoformat(report["started_at"]),
            **{name: counts[name] for name in ("images", "listed", "ignored", "duplicates", "already_done")},
            **{name: counts[name] for name in ("failed_before", "failed_for_now", "bytes", "ok", "failed")},
            **{name: report[name] for name in ("run_id", "error", "seconds", "reasons", "seconds_by_step")},
            problems={problem["kind"]: problem["message"] for problem in report.get("problems", ())},
            **{name: report[name] for name in ("models", "options", "versions", "host")},
            nightly=Nightly(*(tuple(night[name]) for name in ("patterns", "days", "waiting"))) if night else Nightly(),
            report=report,
        )

    @property
    def day(self) -> date:
        """The day on which it started, in UTC."""
        return self.started.date()

    @property
    def partitions(self) -> tuple[date, ...]:
        """The logical days of its rows, ``dt=<day>``. Early versions wrote all rows to the day of the start."""
        return (self.day, *map(date.fromisoformat, self.nightly.days))

    @property
    def done(self) -> bool:
        """Whether the run finished, so that its counts agree with the tables."""
        return self.state == "done"

    def tables(self, kind: str) -> list[str]:
        """Return the names of its tables of one kind, ``predictions`` or ``embeddings``."""
        return [table for table in self.models if table.startswith(f"{kind}/")]


def list_reports(output: str) -> dict[str, date | None]:
    """Return the URIs of all run reports, each with the UTC day in its name, or None where the name has no day."""
    stats = files.walk(layout.folder(output, "runs"), recursive=False)
    return {stat.uri: _day_of(files.name(stat.uri)) for stat in stats if stat.uri.endswith(".json")}


def read_runs(uris: Iterable[str]) -> tuple[list[Run], list[str]]:
    """Read run reports in parallel.

    Returns:
        The runs in order of their start, and one message for each file that is damaged or not a run report.
    """
    runs: list[Run] = []
    unreadable: list[str] = []
    for result in prefetch(uris, _read_run, threads=_THREADS, window=2 * _THREADS):
        if isinstance(result, Run):
            runs.append(result)
        else:
            unreadable.append(result)
    return sorted(runs, key=lambda run: (run.started, run.run_id)), sorted(unreadable)


def _read_run(uri: str) -> Run | str:
    """Return a run or an error message, so that one damaged file does not hide the other runs."""
    try:
        data, _ = files.read(uri)
        return Run.from_report(json.loads(data))
    except (BeamsightError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{files.name(uri)}: {type(error).__name__}: {error}"


def _day_of(name: str) -> date | None:
    match = _DAY.match(name)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs of a page, in order of their start.

    Attributes:
        day: The day of the page.
        runs: The runs that the page shows: all runs of the day, or one run.
        recent: All runs of the ``DAYS`` days that end with ``day``.
        unreadable: One message for each run report that cannot be read.
    """

    day: date
    runs: tuple[Run, ...]
    recent: tuple[Run, ...]
    unreadable: tuple[str, ...]

    def days(self) -> list[date]:
        """Return the days of the charts, oldest first."""
        return [self.day - timedelta(days=back) for back in reversed(range(DAYS))]


def select(output: str, day: date | None = None, run_id: str | None = None) -> Selection:
    """Choose the runs of a day, or one run. The default is the newest day with a run.

    Only the necessary reports are read, because run IDs begin with the time.

    Raises:
        UsageError: There is no such run.
    """
    folder = layout.folder(output, "runs")
    days = list_reports(output)
    if not days:
        raise UsageError(f"{output}: there is no run report below {folder}; pass the --output of `beamsight run`")
    if run_id is not None:
        uri = layout.run_report(output, run_id)
        if uri not in days:
            newest = max(map(files.name, days)).removesuffix(".json")
            raise UsageError(f"--run {run_id}: {folder} has no such run; the newest is {newest}")
        day = days[uri]
    known = [each for each in days.values() if each]
    last = day or max(known, default=None)
    first = last - timedelta(days=DAYS - 1) if last else None
    # A report without a day in its name has to be read to learn its day.
    wanted = [uri for uri, named in days.items() if not (named and first and last) or first <= named <= last]
    runs, unreadable = read_runs(sorted(wanted))
    chosen = [run for run in runs if (run.run_id == run_id if run_id else run.day == (last or runs[-1].day))]
    if not chosen:
        raise UsageError(_no_runs(folder, day, run_id, known, unreadable))
    day = chosen[-1].day
    recent = tuple(run for run in runs if day - timedelta(days=DAYS) < run.day <= day)
    return Selection(day, tuple(chosen), recent, tuple(unreadable))


def _no_runs(folder: str, day: date | None, run_id: str | None, known: Sequence[date], unreadable: list[str]) -> str:
    if unreadable and (run_id or day is None or day in known):
        return f"{folder} has no report that can be read: {unreadable[0]}"
    nearest = sorted(set(known), key=lambda other: abs(other - day))[:3] if day else []
    return f"--date {day}: no run started on that day (UTC); there are runs of {', '.join(map(str, sorted(nearest)))}"
