"""The name of a schedule and its times: a time of day or the five fields of cron, in a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from beamsight.text import count
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
# The rule for a Dataflow job, which gets the name of its schedule.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_AT = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DAILY = re.compile(r"([0-9]+) ([0-9]+) \* \* \*")
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9][0-9]*))?")


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a schedule.

    fields: The five fields of cron, such as ``30 2 * * *``.
    zone: A name of the tz database.
    """

    fields: str
    zone: str

    def __post_init__(self) -> None:
        fields = self.fields.split()
        if len(fields) != len(_FIELDS):
            raise UsageError(
                f"--times {self.fields!r} has {count(len(fields), 'field')}; pass 5: minute hour day month weekday"
            )
        for text, field in zip(fields, _FIELDS, strict=True):
            _check(text, *field)
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(f"--time-zone {self.zone} is unknown; pass a name such as Europe/Berlin or UTC") from error

    @classmethod
    def daily(cls, at: str, zone: str) -> Times:
        """Return the times for every day at ``at``, such as ``02:30``. Raises UsageError for another format."""
        match = _AT.fullmatch(at)
        if not match:
            raise UsageError(f"--at {at} is not a time of day; pass one such as 02:30")
        return cls(f"{int(match[2])} {int(match[1])} * * *", zone)

    @property
    def at(self) -> str | None:
        """The time of day, such as ``02:30``, or None if it is not the same every day."""
        match = _DAILY.fullmatch(self.fields)
        return f"{int(match[2]):02}:{int(match[1]):02}" if match else None

    def __str__(self) -> str:
        return f"{f'every day at {self.at}' if self.at else self.fields}, {self.zone}"


def require_name(name: str) -> None:
    """Raise UsageError if Cloud Scheduler, Dataflow or systemd would reject a name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name}: use up to 63 of a-z, 0-9 and '-', with a letter first and '-' not last")


def _check(text: str, unit: str, low: int, high: int, names: list[str]) -> None:
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise UsageError(f"--times: {text} is not valid for the {unit}; pass *, 5, 1-5, 1,15 or */2, for example")
        ends = [_number(end, names, low) for end in match.groups()[:2] if end]
        if any(end is None or not low <= end <= high for end in ends):
            raise UsageError(f"--times: {part} is not valid for the {unit}; pass {low} to {high}")


def _number(text: str, names: list[str], low: int) -> int | None:
    """Return a number, or the number of a name: months count from 1, days from 0."""
    if text.isdecimal():
        return int(text)
    return names.index(text.lower()) + low if text.lower() in names else None
