"""``beamsight report``: find the runs, read the night, write the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timezone

from beamsight.reports import night, render, runs
from transforms.storage import files


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """``beamsight report`` as it was asked for: of a day, of one run, or else of the newest day. to: where it goes."""

    output: str
    day: date | None = None
    run_id: str | None = None
    to: str | None = None


def make(options: ReportOptions) -> str:
    """Write the page -> where it is. Raises UsageError where there is no such run."""
    files.check(options.output)
    output = files.absolute(options.output)
    found = runs.find(output, options.day, options.run_id)
    to = (
        files.absolute(options.to)
        if options.to
        else files.join(output, "reports", f"{options.run_id or found.day}.html")
    )
    read = night.read(output, found, options.run_id, datetime.now(timezone.utc))
    files.write(to, render.to_html(read).encode("utf-8", "replace"))
    return to
