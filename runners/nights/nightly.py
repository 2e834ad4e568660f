"""``beamsight nightly``: find the days of a run, and the images of those days."""

from __future__ import annotations

import dataclasses
import os
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
from transforms.storage import files, local
from transforms.tables import layout

_THREADS = 16  # concurrent look-ups of sources


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """The options of a run, and messages to the user about its days."""

    options: RunOptions
    messages: tuple[str, ...]


def resolve_days(options: RunOptions, asked: NightlyOptions, now: datetime) -> NightlyRun:
    """Replace the day patterns in ``options.images`` by the sources of all days of the run.

    Args:
        options: The options of the run, with day patterns as images.
        asked: The days to run for.
        now: The current time.

    Raises:
        UsageError: The patterns or the days are invalid, or a source fails with a permanent error.
    """
    resolve.require_output(options)
    today = asked.today(now)
    days = _list_days(options, asked, today)
    by_day = {day: _expand(options.images, day) for day in days}
    all_sources = [source for day in days for source in by_day[day]]
    has_images = _check_sources(all_sources, options)
    waiting = [day for day in days if not all(has_images[source] for source in by_day[day])]
    images = dict.fromkeys(source for source in all_sources if has_images[source])
    warnings = _list_warnings(options.images) if waiting else ()
    # A night without images still runs and writes a report. A source of more days belongs to the first of them.
    chosen = tuple(images) or by_day[days[-1]]
    by_source = {source: f"{day}" for day in reversed(days) for source in by_day[day] if source in chosen}
    night = Night(options.images, _iso(days), _iso(waiting), warnings, by_source)
    run = dataclasses.replace(options, images=chosen, night=night)
    return NightlyRun(run, tuple(_describe_days(asked, today, days, waiting)))


def resolve_today(options: RunOptions, asked: NightlyOptions, now: datetime) -> RunOptions:
    """Replace the day patterns by the sources of today alone, without access to storage."""
    return dataclasses.replace(options, images=_expand(options.images, asked.today(now)))


def _list_days(options: RunOptions, asked: NightlyOptions, today: date) -> list[date]:
    if asked.first is not None:
        last = asked.last or today
        if asked.first > last:
            raise UsageError(f"--from {asked.first} is after today, {last}")
        return [asked.first + timedelta(days=n) for n in range((last - asked.first).days + 1)]
    output = resolve.output_of(options)
    return [*catch_up.list_incomplete(output, today, asked.catch_up, options.images, asked.zone), today]


def _expand(patterns: Sequence[str], day: date) -> tuple[str, ...]:
    return tuple(dict.fromkeys(day_patterns.expand(pattern, day) for pattern in patterns))


def _check_sources(names: Sequence[str], options: RunOptions) -> dict[str, bool]:
    """Return which sources have an image. A transient error counts as yes, so that the run tries again."""
    own_files = layout.own_files(resolve.output_of(options))

    def has_image(source: str) -> tuple[str, bool]:
        try:
            reason = sources.explain_empty(source, options.uri_column, own_files, image_column=options.image_column)
            return source, reason is None
        except FetchError as error:
            if not error.retryable:
                raise UsageError(f"--images {source}: {error}") from error
            return source, True

    return dict(prefetch(dict.fromkeys(names), has_image, threads=_THREADS, window=2 * _THREADS))


def _list_warnings(patterns: Sequence[str]) -> tuple[str, ...]:
    found = prefetch(dict.fromkeys(patterns), explain_missing, threads=_THREADS, window=2 * _THREADS)
    return tuple(warning for warning in found if warning)


def explain_missing(pattern: str) -> str | None:
    """Return a warning if what a pattern has before its days does not exist. Another night will not find images there.

    None if it exists, or if the storage does not answer.
    """
    part = day_patterns.fixed_part(pattern)
    if files.is_web(pattern):
        return None  # it is refused as a source, without a request
    try:
        if part is None or _exists(files.absolute(part)):
            return None
    except (FetchError, UsageError):
        return None
    return f"--images {pattern}: there is no {part}; check the pattern, if this is not before the first upload"


def _exists(uri: str) -> bool:
    if files.is_local(uri):
        return os.path.exists(local.path_of(uri))  # noqa: PTH110 - pathlib raises for a folder that may not be read
    if not uri.endswith("/"):
        if files.exists(uri):
            return True
        uri += "/"
    return next(files.walk(uri), None) is not None


def _describe_days(asked: NightlyOptions, today: date, days: Sequence[date], waiting: Sequence[date]) -> Iterator[str]:
    if asked.first is not None:
        yield f"images of {days[0]} to {days[-1]}"
    else:
        others = f", and of earlier days that are not complete: {', '.join(_iso(days[:-1]))}" if len(days) > 1 else ""
        yield f"images of {today}{others}"
        if asked.catch_up and len(days) == asked.catch_up + 1:
            yield f"to run for missed days before {days[0]}, pass --from and --to"
    if waiting:
        yield f"not all sources have images yet for {', '.join(_iso(waiting))}; later nights check them again"


def _iso(days: Sequence[date]) -> tuple[str, ...]:
    return tuple(f"{day}" for day in days)
