"""What a schedule is called, and when it starts: a time of day, or cron's five fields, in a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from transforms.errors import UsageError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # as of the job on Dataflow that is called like its schedule
_AT = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DAILY = re.compile(r"([0-9]+) ([0-9]+) \* \* \*")
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9][0-9]*))?")


@dataclass(frozen=True, slots=True)
class Times:
    """fields: cron's five, such as ``30 2 * * *``. zone: a name of the tz database."""

    fields: str
    zone: str

    def __post_init__(self) -> None:
        given = self.fields.split()
        if len(given) != len(_FIELDS):
            raise UsageError(
                f"--times {self.fields!r} has {len(given)} fields and not 5: minute hour day month weekday"
            )
        for text, field in zip(given, _FIELDS, strict=True):
            _check(text, *field)
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(
                f"--time-zone {self.zone} is no time zone that is known here; write it as Europe/Berlin, or UTC"
            ) from error

    @classmethod
    def daily(cls, at: str, zone: str) -> Times:
        """``02:30`` -> each day at that time. Raises UsageError."""
        found = _AT.fullmatch(at)
        if not found:
            raise UsageError(f"--at {at} is no time of day such as 02:30")
        return cls(f"{int(found[2])} {int(found[1])} * * *", zone)

    @property
    def at(self) -> str | None:
        """The time of day, ``02:30``, where it is the same on all days."""
        found = _DAILY.fullmatch(self.fields)
        return f"{int(found[2]):02}:{int(found[1]):02}" if found else None

    def __str__(self) -> str:
        return f"{f'each day at {self.at}' if self.at else self.fields}, {self.zone}"


def require_name(name: str) -> None:
    """Raises UsageError for what Cloud Scheduler, Dataflow or systemd would not take for a name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name}: start with a letter, and take up to 63 of a-z, 0-9 and '-', '-' not last")


def _check(text: str, what: str, low: int, high: int, names: list[str]) -> None:
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise UsageError(f"--times: {text} is no {what} of cron, such as *, 5, 1-5, 1,15 or */2")
        ends = [_number(end, names, low) for end in found.groups()[:2] if end]
        if any(end is None or not low <= end <= high for end in ends):
            raise UsageError(f"--times: {part} is no {what}; take {low} to {high}")


def _number(text: str, names: list[str], low: int) -> int | None:
    """A number, or the number of a name, which count from 1 for months and from 0 for days."""
    if text.isdecimal():
        return int(text)
    return names.index(text.lower()) + low if text.lower() in names else None
