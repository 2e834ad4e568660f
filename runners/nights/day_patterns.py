"""Day patterns in ``--images``, such as ``gs://bucket/photos/{yesterday:%Y/%m/%d}/**``."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator
from datetime import date, timedelta

from transforms.errors import UsageError

_WILDCARD = re.compile(r"[*?[]")
_DAYS_BACK = {"date": 0, "yesterday": 1}  # from the day of the run
_SYNTAX = "{date:%Y/%m/%d} is the day of the run, {yesterday:%Y/%m/%d} the day before; write {{ and }} for braces"


def expand(pattern: str, day: date) -> str:
    """Return a pattern with its fields replaced by a day. Raises UsageError for an unknown field or format."""
    return "".join(
        text if field is None else _format(pattern, field, form, day) for text, field, form in _parts(pattern)
    )


def names_today(pattern: str) -> bool:
    """Return whether a pattern has a ``date`` field. That day is not over when the run starts."""
    return any(field == "date" for _, field, _ in _parts(pattern))


def fixed_part(pattern: str) -> str | None:
    """Return what a pattern has before its days and wildcards: a folder, or all of a pattern without any.

    ``gs://b/photos/{date}/**`` -> ``gs://b/photos/``. None where no folder is fixed, as in ``gs://{date}/**``.
    """
    parts = list(_parts(pattern))
    literals = list(itertools.takewhile(lambda part: part[1] is None, parts))
    text = "".join(literal for literal, _, _ in literals)
    magic = _WILDCARD.search(text)
    if magic is None and literals == parts:
        return text
    folder = text[: magic.start()] if magic else text
    folder = folder[: folder.rfind("/") + 1]
    return None if folder.endswith("://") else folder or "./"


def _parts(pattern: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield literal text, or a field and its format."""
    try:
        parsed = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise UsageError(f"--images {pattern}: {error}. {_SYNTAX}") from error
    for text, field, form, conversion in parsed:
        if text:
            yield text, None, ""
        if field is None:
            continue
        if field not in _DAYS_BACK or conversion:
            raise UsageError(f"--images {pattern}: {{{field}}} is not a day. {_SYNTAX}")
        if form and "%" not in form:
            raise UsageError(f"--images {pattern}: {form!r} has no % code, so it is the same for all days. {_SYNTAX}")
        yield "", field, form or "%Y-%m-%d"


def _format(pattern: str, field: str, form: str, day: date) -> str:
    try:
        return f"{day - timedelta(days=_DAYS_BACK[field]):{form}}"
    except ValueError as error:
        raise UsageError(f"--images {pattern}: {form!r} is not a date format: {error}") from error
