"""The options of ``nightly``: which days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from beamsight import options
from beamsight.options import option
from transforms.errors import UsageError

DAYS = "days"
CONFIG = "beamsight.toml"

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


@dataclass(frozen=True, slots=True)
class NightlyOptions:
    """Which days a night does: the logical day and those before it, or a range of days."""

    day: date | None = option(
        None,
        name="date",
        group=DAYS,
        one_run=True,
        help="Day of the run, such as 2026-11-20",
        default_text="today",
        pattern=_DAY,
    )
    first: date | None = option(
        None, name="from", group=DAYS, one_run=True, help="First day of a range of days", pattern=_DAY
    )
    last: date | None = option(
        None, name="to", group=DAYS, one_run=True, help="Last day of the range", default_text="today", pattern=_DAY
    )
    time_zone: str = option(
        "UTC",
        group=DAYS,
        help="Time zone that decides which day is today, such as Europe/Berlin",
        pattern="[A-Za-z0-9_+/-]+",
    )
    catch_up: int = option(7, group=DAYS, at_least=0, help="Number of days before the day to check for unfinished ones")

    def __post_init__(self) -> None:
        options.check(self)
        if self.day is not None and (self.first or self.last):
            raise UsageError("--date cannot be combined with --from or --to; pass one day or a range of days")
        if self.last is not None and self.first is None:
            raise UsageError(f"--to {self.last} needs --from, the first day of the range")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise UsageError(f"--from {self.first} is after --to {self.last}")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone. Raises UsageError for one that this machine does not have."""
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(
                f"--time-zone {self.time_zone} is unknown; pass a name such as Europe/Berlin or UTC"
            ) from error

    def today(self, now: datetime) -> date:
        """Return the day of a run that starts now."""
        return self.day or now.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """Where more options are."""

    config: str | None = option(
        None,
        group=DAYS,
        metavar="FILE",
        one_run=True,
        help="File of options",
        default_text=f"{CONFIG}, if it exists",
        template="the launcher has no such file; give the options themselves",
    )
