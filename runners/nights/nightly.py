"""``beamsight nightly``: what was asked, and the days -> a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from runners.jobs import resolve
from runners.jobs.options import Night, RunOptions
from runners.nights import catch_up, day_patterns
from runners.nights.options import NightlyOptions
from transforms.errors import FetchError, UsageError
from transforms.listing import sources
from transforms.prefetch import prefetch
from transforms.storage import files

_THREADS = 16  # sources looked at at once


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """A run that can be started, and what a person is told of its days."""

    options: RunOptions
    messages: tuple[str, ...]


def resolve_days(options: RunOptions, asked: NightlyOptions, now: datetime) -> NightlyRun:
    """``options`` with patterns for images -> the same with what they name on the days that are to be done.

    Raises UsageError, also for what cannot be read for good.
    """
    today = asked.today(now)
    days = _days(options, asked, today)
    named = {day: _expanded(options.images, day) for day in days}
    found = _look([source for several in named.values() for source in several], options.uri_column)
    waiting = [day for day in days if not all(found[source] for source in named[day])]
    images = dict.fromkeys(source for several in named.values() for source in several if found[source])
    night = Night(options.images, _iso(days), _iso(waiting))
    # Where there is nothing, the run lists that nothing, and says so in its report.
    tonight = dataclasses.replace(options, images=tuple(images) or named[days[-1]], night=night)
    return NightlyRun(tonight, tuple(_said(asked, today, days, waiting)))


def resolve_today(options: RunOptions, asked: NightlyOptions, now: datetime) -> RunOptions:
    """As ``resolve_days`` for the day alone, without asking any server."""
    return dataclasses.replace(options, images=_expanded(options.images, asked.today(now)))


def _days(options: RunOptions, asked: NightlyOptions, today: date) -> list[date]:
    if asked.first is not None:
        last = asked.last or today
        if asked.first > last:
            raise UsageError(f"--from {asked.first} comes after today, {last}")
        return [asked.first + timedelta(days=n) for n in range((last - asked.first).days + 1)]
    output = resolve.output_of(options)
    files.check(output)
    return [*catch_up.list_incomplete(output, today, asked.catch_up, options.images, asked.zone), today]


def _expanded(patterns: Sequence[str], day: date) -> tuple[str, ...]:
    return tuple(dict.fromkeys(day_patterns.expand(pattern, day) for pattern in patterns))


def _look(named: Sequence[str], uri_column: str) -> dict[str, bool]:
    """Sources -> whether there is an image. What cannot be told now is left to the run, which reports it."""

    def look(source: str) -> tuple[str, bool]:
        try:
            return source, sources.nothing(source, uri_column) is None
        except FetchError as error:
            if not error.retryable:
                raise UsageError(f"--images {source}: {error}") from error
            return source, True

    return dict(prefetch(dict.fromkeys(named), look, threads=_THREADS, window=2 * _THREADS))


def _said(asked: NightlyOptions, today: date, days: Sequence[date], waiting: Sequence[date]) -> Iterator[str]:
    if asked.first is not None:
        yield f"the days {days[0]} to {days[-1]}"
    else:
        others = f", and of days that are not settled: {', '.join(_iso(days[:-1]))}" if len(days) > 1 else ""
        yield f"images of {today}{others}"
        if asked.catch_up and len(days) == asked.catch_up + 1:
            yield f"if days before {days[0]} were missed too, fill them in with --from and --to"
    if waiting:
        yield f"no images yet of all that is named for {', '.join(_iso(waiting))}; later nights look again"


def _iso(days: Sequence[date]) -> tuple[str, ...]:
    return tuple(f"{day}" for day in days)
