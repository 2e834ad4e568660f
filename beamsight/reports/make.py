"""Write the page of ``beamsight report``.

The page is one HTML file without scripts. It loads nothing from a network, and file names always stay text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from importlib import resources

import jinja2
from markupsafe import Markup

from beamsight.reports import charts, duplicates, findings, page, runs, vectors
from beamsight.reports.page import Page
from beamsight.text import count, duration, printable, size
from transforms.storage import files

NONE = "\u2013"


@dataclass(frozen=True, slots=True)
class Chart:
    """A small chart: its name, the latest and the highest value as text, and the SVG."""

    name: str
    latest: str
    highest: str
    svg: Markup


def make(output: str, *, day: date | None = None, run_id: str | None = None, to: str | None = None) -> str:
    """Write the page of a day or of one run. The default is the newest day with a run.

    Args:
        output: The folder of the tables.
        day: The day on which the runs started, in UTC.
        run_id: The only run to show.
        to: URI of the page. The default is ``OUTPUT/reports/<day or run ID>.html``.

    Returns:
        The URI of the page.

    Raises:
        UsageError: There is no such run.
    """
    files.check(output)
    output = files.absolute(output)
    chosen = runs.select(output, day, run_id)
    to = files.absolute(to) if to else files.join(output, "reports", f"{run_id or chosen.day}.html")
    html = to_html(page.read(output, chosen, run_id, datetime.now(timezone.utc)))
    files.write(to, html.encode("utf-8", "replace"))
    return to


def to_html(page: Page) -> str:
    """Render a page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("beamsight.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_escape_invisible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": _number,
        "percent": findings.percent,
        "change": _change,
        "duration": duration,
        "milliseconds": _milliseconds,
        "rate": _rate,
        "size": size,
        "day": _day,
        "name": files.name,
        "plural": count,
    }
    style = resources.files("beamsight.reports").joinpath("templates/style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        page=page,
        now=page.totals,
        style=Markup(style),  # a packaged file, so it is safe without escapes
        charts=_charts(page),
        scores=_scores(page),
        scatter=_scatter(page),
        sparkline=charts.sparkline,
        swatch=charts.swatch,
        on_map=charts.on_map,
        near=duplicates.NEAR,
        alike=vectors.ALIKE,
    )


def _escape_invisible(value: object) -> object:
    """Escape the characters of a text that are invisible or that change the direction of the text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _charts(page: Page) -> list[Chart]:
    days = list(page.days.values())
    period = f"{len(days)} days to {_day(page.selection.day)}"
    unfinished = [bool(total and total.unfinished) for total in days]

    def chart(name: str, numbers: Sequence[float | None], texts: Sequence[str]) -> Chart:
        shown = [number for number in numbers if number is not None]
        highest = texts[numbers.index(max(shown))] if shown else "none"
        title = f"{name}, {period}: latest {texts[-1]}, highest {highest}"
        return Chart(name, texts[-1], highest, charts.bars(numbers, title, unfinished))

    new = [total.new if total else None for total in days]
    failed = [total.failure_share if total else None for total in days]
    rates = [total.rate if total else None for total in days]
    seconds = [total.seconds if total else None for total in days]
    return [
        chart("New images", new, [_number(value) for value in new]),
        chart("Failed", failed, [NONE if value is None else findings.percent(value) for value in failed]),
        chart("Images/s", rates, [_rate(value) for value in rates]),
        chart("Duration", seconds, [NONE if value is None else duration(value) for value in seconds]),
    ]


def _scores(page: Page) -> Markup | None:
    predictions = page.predictions
    if predictions is None or not predictions.tally.rows:
        return None
    now = (predictions.tally.scores / predictions.tally.rows).tolist()
    before = (predictions.before.scores / predictions.before.rows).tolist() if predictions.before.rows else None
    title = f"Scores of the best class from 0 to 1, mean {predictions.tally.mean:.2f}"
    if before:
        title += f"; on earlier days {predictions.before.mean:.2f}"
    return charts.histogram(now, before, title)


def _scatter(page: Page) -> Markup | None:
    points = page.samples.map
    if points is None:
        return None
    title = f"{page.samples.count:,} images as points. Images with similar vectors are close to each other."
    other = points.other.points if points.other else None
    return charts.scatter([layer.points for layer in points.layers], other, title)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _change(value: float) -> str:
    """Format a difference of two shares as percentage points, such as ``+1.2``."""
    points = round(100 * value, 1)
    return "±0.0" if points == 0 else f"{points:+.1f}".replace("-", "\u2212")


def _rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
