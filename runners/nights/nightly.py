"""``beamsight nightly``: what was asked, and the days -> a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runners.dataflow.options import SubmitOptions
from runners.jobs import resolve
from runners.jobs.options import Night, RunOptions
from runners.nights import catch_up, day_patterns
from transforms.errors import FetchError, UsageError
from transforms.listing import sources
from transforms.prefetch import prefetch
from transforms.storage import files

_THREADS = 16  # sources looked at at once


@dataclass(frozen=True, slots=True)
class NightlyOptions:
    """Which days. day: that of the run. first, last: days to fill in, instead. catch_up: days to look back."""

    day: date | None = None
    first: date | None = None
    last: date | None = None
    time_zone: str = "UTC"
    catch_up: int = 7

    def __post_init__(self) -> None:
        if self.day is not None and (self.first or self.last):
            raise UsageError("--date is one day, --from and --to are many; give the one or the others")
        if self.last is not None and self.first is None:
            raise UsageError(f"--to {self.last} is the end of what? Say where to begin with --from")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise UsageError(f"--from {self.first} comes after --to {self.last}")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone. Raises UsageError for one that is not known here."""
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(
                f"--time-zone {self.time_zone} is not known here; write one such as Europe/Berlin"
            ) from error

    def today(self, now: datetime) -> date:
        """The day of a run that starts now."""
        return self.day or now.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class Tonight:
    """A run that can be started, and what a person is told of its days."""

    options: RunOptions
    said: tuple[str, ...]


def settle(options: RunOptions, asked: NightlyOptions, now: datetime) -> Tonight:
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
    return Tonight(tonight, tuple(_said(asked, today, days, waiting)))


def of_today(options: RunOptions, asked: NightlyOptions, now: datetime) -> RunOptions:
    """As ``settle`` for the day alone, without asking any server."""
    return dataclasses.replace(options, images=_expanded(options.images, asked.today(now)))


def described(file: str, words: Sequence[str], options: RunOptions, asked: NightlyOptions, now: datetime) -> str:
    """A file of options -> what a person reads of the run that would start now. Asks no server.

    words: what the file comes to on the command line.
    """
    today = asked.today(now)
    lines = [f"{file} holds what a run needs. Today, {today} in {asked.time_zone}, `beamsight nightly` is", ""]
    lines += [f"  --images={source}" for source in of_today(options, asked, now).images]
    lines += [f"  {word}" for word in words if not word.startswith("--images=")]
    return "\n".join([*lines, "", f"and lists those of the {asked.catch_up} days before that are not settled"])


def require_dataflow(where: SubmitOptions, dry_run: bool) -> None:
    """Raises UsageError for options of machines where the job does not run on those."""
    asked = [field.name for field in dataclasses.fields(where) if getattr(where, field.name) != field.default]
    if dry_run:
        asked.append("dry_run")
    if asked:
        option = {"labels": "label", "public_ips": "no_public_ips"}.get(asked[0], asked[0]).replace("_", "-")
        raise UsageError(f"--{option} is for a job on Dataflow; say --runner=DataflowRunner too, or leave it out")


def _days(options: RunOptions, asked: NightlyOptions, today: date) -> list[date]:
    if asked.first is not None:
        last = asked.last or today
        if asked.first > last:
            raise UsageError(f"--from {asked.first} comes after today, {last}")
        return [asked.first + timedelta(days=n) for n in range((last - asked.first).days + 1)]
    output = resolve.output_of(options)
    files.check(output)
    return [*catch_up.unsettled(output, today, asked.catch_up, options.images, asked.zone), today]


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
