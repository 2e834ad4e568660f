"""Charts as SVG inside the page.

The style sheet of the page sets the colours, so that they follow the light and dark schemes. Each chart has a title. A
table on the page contains the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from beamsight.reports.vectors import Floats

WIDTH, HEIGHT = 280, 64  # of the small charts, in SVG units. The page stretches them.
MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 720, 540, 28

_SHAPES = (  # SVG paths around 0, 0. Shapes distinguish the classes without colour.
    "h0",  # A line of length 0 with round ends is a dot.
    "m-4 -4h8v8h-8z",
    "m0 -5.5l5 9h-10z",
    "m0 -6l6 6l-6 6l-6 -6z",
    "m-4.5 0h9m-4.5 -4.5v9",
    "m-3.5 -3.5l7 7m0 -7l-7 7",
)


def bars(values: Sequence[float | None], title: str, marked: Sequence[bool] = ()) -> Markup:
    """Draw one bar for each day.

    Args:
        values: One for each day, oldest first; the last one is the day of the page. None draws a line at the bottom.
        title: Text for screen readers and tooltips.
        marked: Days with an unfinished run, which get a paler bar.
    """
    highest = _highest(values)
    step = WIDTH / max(len(values), 1)
    drawn = []
    for place, value in enumerate(values):
        kind = "none" if value is None else "cut" if place < len(marked) and marked[place] else "bar"
        height = 2 if value is None else max(value / highest * (HEIGHT - 4), 2 if value else 1)
        drawn.append(_bar(place * step + 1.5, step - 3, height, HEIGHT, kind, now=place == len(values) - 1))
    return _svg(title, drawn, "bars")


def sparkline(values: Sequence[float | None]) -> Markup:
    """Draw bars at the height of a line of text, without a title. The numbers stand beside them."""
    highest = _highest(values)
    drawn = [
        _bar(place * 6, 4, max(18 * value / highest, 1), 20, "bar", now=place == len(values) - 1)
        for place, value in enumerate(values)
        if value is not None
    ]
    return Markup('<svg class="spark" viewBox="0 0 {} 20" aria-hidden="true" focusable="false">{}</svg>').format(
        6 * len(values), Markup("").join(drawn)
    )


def histogram(now: Sequence[float], before: Sequence[float] | None, title: str) -> Markup:
    """Draw shares by bin: the page's day as bars and the earlier days as a line."""
    highest = _highest([*now, *(before or ())])
    step = WIDTH / len(now)
    drawn = [
        _bar(place * step + 0.75, step - 1.5, value / highest * (HEIGHT - 4), HEIGHT, "bar", now=True)
        for place, value in enumerate(now)
    ]
    if before:
        tops = [HEIGHT - value / highest * (HEIGHT - 4) for value in before]
        steps = "".join(f"V{top:.1f}H{(place + 1) * step:.1f}" for place, top in enumerate(tops))
        drawn.append(Markup('<path class="before" d="M0 {}{}"/>').format(HEIGHT, steps))
    return _svg(title, drawn, "histogram")


def scatter(layers: Sequence[Floats], other: Floats | None, title: str) -> Markup:
    """Draw points, float32[N, 2] in 0..1, with one layer for each class above the layer of all other classes.

    A layer is one path of many small shapes, which keeps the file small for thousands of points.
    """
    drawn = [_layer(other, _SHAPES[0], "other")] if other is not None else []
    drawn += [_layer(points, _SHAPES[place], f"class c{place}") for place, points in enumerate(layers)]
    return _svg(title, drawn, "scatter", width=MAP_WIDTH, height=MAP_HEIGHT)


def swatch(place: int | None) -> Markup:
    """Draw the shape and colour of a class for the table beside the map; None stands for all other classes."""
    shape = _SHAPES[place or 0]
    kind = "other" if place is None else f"class c{place}"
    if shape == _SHAPES[0]:
        kind += " dot"
    return Markup(
        '<svg class="swatch" viewBox="-8 -8 16 16" aria-hidden="true" focusable="false">'
        '<path class="{}" d="M0 0{}"/></svg>'
    ).format(kind, shape)


def on_map(place: tuple[float, float]) -> tuple[float, float]:
    """Convert a position, 0..1 on both axes, to percent of the map's width and height."""
    across, down = (
        (MAP_MARGIN + share * (side - 2 * MAP_MARGIN)) / side * 100
        for share, side in ((place[0], MAP_WIDTH), (1 - place[1], MAP_HEIGHT))
    )
    return round(across, 2), round(down, 2)


def _layer(points: Floats, shape: str, kind: str) -> Markup:
    size = np.array([MAP_WIDTH, MAP_HEIGHT]) - 2 * MAP_MARGIN
    places = MAP_MARGIN + np.stack([points[:, 0], 1 - points[:, 1]], axis=1) * size
    dot = " dot" if shape == _SHAPES[0] else ""
    return Markup('<path class="{}" d="{}"/>').format(
        kind + dot, "".join(f"M{x:.0f} {y:.0f}{shape}" for x, y in places)
    )


def _highest(values: Sequence[float | None]) -> float:
    return max((value for value in values if value is not None), default=0) or 1


def _bar(x: float, width: float, height: float, bottom: float, kind: str, *, now: bool) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        f"{kind} now" if now else kind, x, bottom - height, width, height
    )


def _svg(title: str, drawn: Sequence[Markup], kind: str, *, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    stretched = Markup("") if kind == "scatter" else Markup(' preserveAspectRatio="none"')
    return Markup('<svg class="{}" viewBox="0 0 {} {}"{} role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        kind, width, height, stretched, title, title, Markup("").join(drawn)
    )
