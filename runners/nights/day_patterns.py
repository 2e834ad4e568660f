"""Days in ``--images``: ``gs://bucket/photos/{yesterday:%Y/%m/%d}/**`` and a day -> what the run of that day lists."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import date, timedelta

from transforms.errors import UsageError

_BACK = {"date": 0, "yesterday": 1}  # days before the run's
_FORM = "{date:%Y/%m/%d} is the day of the run, {yesterday:%Y/%m/%d} the day before; a brace of a name is written twice"


def expand(pattern: str, day: date) -> str:
    """A pattern -> what it names for the run of a day. Raises UsageError for braces that are not ours."""
    return "".join(
        text if field is None else _format(pattern, field, form, day) for text, field, form in _parts(pattern)
    )


def names_today(pattern: str) -> bool:
    """Whether a pattern names the day of the run, which is not over when the run starts."""
    return any(field == "date" for _, field, _ in _parts(pattern))


def _parts(pattern: str) -> Iterator[tuple[str, str | None, str]]:
    """Literal text, or a field and its format."""
    try:
        parsed = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise UsageError(f"--images {pattern}: {error}. {_FORM}") from error
    for text, field, form, conversion in parsed:
        if text:
            yield text, None, ""
        if field is None:
            continue
        if field not in _BACK or conversion:
            raise UsageError(f"--images {pattern}: {{{field}}} is no day. {_FORM}")
        if form and "%" not in form:
            raise UsageError(f"--images {pattern}: {form!r} is the same on all days. {_FORM}")
        yield "", field, form or "%Y-%m-%d"


def _format(pattern: str, field: str, form: str, day: date) -> str:
    try:
        return f"{day - timedelta(days=_BACK[field]):{form}}"
    except ValueError as error:
        raise UsageError(f"--images {pattern}: {form!r} is no format of a day: {error}") from error
