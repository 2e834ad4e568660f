"""``beamsight report``: a page that shows what the runs of a day did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from beamsight.options import option
from runners.cli.parser import Command, Outcome, Parsed
from transforms.errors import UsageError


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Which runs the page shows, and where it goes."""

    output: str = option(positional=True, metavar="OUTPUT", help="Folder of the tables, on a disk or gs://")
    day: date | None = option(
        None,
        name="date",
        help="Day (UTC) on which the runs started, such as 2026-11-20",
        default_text="the newest day with a run",
    )
    run: str | None = option(None, metavar="RUN", help="Id of one run")
    to: str | None = option(
        None, metavar="FILE", help="File to write", default_text="OUTPUT/reports/<date or run>.html"
    )

    def __post_init__(self) -> None:
        if self.day is not None and self.run is not None:
            raise UsageError("--date and --run exclude each other; use one of them")


def report(parsed: Parsed) -> Outcome:
    """Write the page."""
    from beamsight.reports import make

    asked = parsed.option(ReportOptions)
    return Outcome(make.make(asked.output, day=asked.day, run_id=asked.run, to=asked.to), lasts=True)


COMMAND = Command(
    name="report",
    summary="make a page that shows what the runs of a day did",
    run=report,
    options=(ReportOptions,),
    description="Make one HTML file that shows what the runs of a day did, and print its path.",
    examples={
        "the newest day": "beamsight report catalog",
        "a day": "beamsight report gs://bucket/catalog --date 2026-11-20",
        "one run": "beamsight report catalog --run 20261120T020400Z-00000c",
    },
)
