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

from beamsight.reports import charts, duplicates, findings, night, runs, vectors
from beamsight.reports.night import Night
from beamsight.text import count, duration, printable
from transforms.storage import files

NONE = "\u2013"


@dataclass(frozen=True, slots=True)
class Chart:
    """A small chart: what it shows, tonight's number as words, the highest of the nights, the picture."""

    name: str
    now: str
    highest: str
    picture: Markup


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
    chosen = runs.find(output, day, run_id)
    to = files.absolute(to) if to else files.join(output, "reports", f"{run_id or chosen.day}.html")
    html = to_html(night.read(output, chosen, run_id, datetime.now(timezone.utc)))
    files.write(to, html.encode("utf-8", "replace"))
    return to


def to_html(night: Night) -> str:
    """The page of a night."""
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
        "size": _size,
        "day": _day,
        "name": files.name,
        "plural": count,
    }
    style = resources.files("beamsight.reports").joinpath("templates/style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        night=night,
        now=night.totals,
        style=Markup(style),  # our own file, and no text of anybody else
        charts=_charts(night),
        scores=_scores(night),
        scatter=_scatter(night),
        spark=charts.spark,
        swatch=charts.swatch,
        on_map=charts.on_map,
        near=duplicates.NEAR,
        alike=vectors.ALIKE,
    )


def _escape_invisible(value: object) -> object:
    """Escape the characters of a text that are invisible or that change the direction of the text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _charts(night: Night) -> list[Chart]:
    days = list(night.days.values())
    last = f"{len(days)} nights to {_day(night.nights.day)}"
    cut = [bool(total and total.unfinished) for total in days]

    def chart(name: str, numbers: Sequence[float | None], words: Sequence[str]) -> Chart:
        shown = [number for number in numbers if number is not None]
        highest = words[numbers.index(max(shown))] if shown else "none"
        title = f"{name}, {last}: {words[-1]} on the last, at most {highest}"
        return Chart(name, words[-1], highest, charts.bars(numbers, title, cut))

    new = [total.new if total else None for total in days]
    failed = [total.failure_share if total else None for total in days]
    rates = [total.rate if total else None for total in days]
    hours = [total.seconds if total else None for total in days]
    return [
        chart("New images", new, [_number(value) for value in new]),
        chart("Failed", failed, [NONE if value is None else findings.percent(value) for value in failed]),
        chart("Images a second", rates, [_rate(value) for value in rates]),
        chart("Time", hours, [NONE if value is None else duration(value) for value in hours]),
    ]


def _scores(night: Night) -> Markup | None:
    found = night.predictions
    if found is None or not found.tally.rows:
        return None
    now = (found.tally.scores / found.tally.rows).tolist()
    before = (found.before.scores / found.before.rows).tolist() if found.before.rows else None
    title = f"Scores of the best class from 0 to 1, mean {found.tally.mean:.2f}"
    if before:
        title += f"; on the nights before {found.before.mean:.2f}"
    return charts.histogram(now, before, title)


def _scatter(night: Night) -> Markup | None:
    found = night.samples.map
    if found is None:
        return None
    title = f"{night.samples.count:,} images as points: near to each other where their vectors are alike"
    other = found.other.points if found.other else None
    return charts.scatter([layer.points for layer in found.layers], other, title)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _change(value: float) -> str:
    """A difference of two shares -> percentage points: ``+1.2``."""
    points = round(100 * value, 1)
    return "±0.0" if points == 0 else f"{points:+.1f}".replace("-", "\u2212")


def _size(value: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, unit
    else:
        unit = "TB"
    return f"{value:,.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"


def _rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
