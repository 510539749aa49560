"""How the report's charts look: a few kinds, each from plain rows, drawn by Vega-Lite (https://vega.github.io/vega-lite/) through Altair.

A chart is as wide as its place. Names stand above their marks, so that a phone has room for both. Colours are CSS variables, which the page
sets for light, dark and print, and `in_light` for a picture; they are Okabe and Ito's, who chose them for every kind of sight
(https://jfly.uni-koeln.de/color/), darkened or lightened until they stand out from the page by 3 to 1; shapes say the same again.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

Row = Mapping[str, Any]
Spec = dict[str, Any]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'
COLOURS: Mapping[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14171c"),
    "panel": ("#f6f7f9", "#1c2027"),
    "ink": ("#1c2430", "#e8ebf0"),
    "muted": ("#566070", "#a3adbb"),
    "line": ("#dde1e7", "#343b46"),
    "network": ("#0072b2", "#56b4e9"),
    "reference": ("#6c7480", "#a0a8b4"),
    "control": ("#b45309", "#e69f00"),
    "good": ("#00734f", "#2fbf8f"),
    "bad": ("#b3261e", "#ff8a80"),
    "unsure": ("#7a5b00", "#e0b83f"),
}
"""Each colour of the page, light and dark."""
SHAPES = {"network": "circle", "reference": "square", "control": "triangle-up"}
ROW_PX, TALL_ROW_PX = 42, 74
TALLEST = 0.5
"""Of a row, what the highest column of a histogram takes."""
ABOVE = -14
"""Pixels from a mark up to its name."""
NAME_PX, MOST_LETTERS = 230, 36


def variable(name: str) -> str:
    """Return a colour as CSS calls it."""
    return f"var(--{name})"


def in_light(spec: Spec) -> Spec:
    """Return a chart with the light colours themselves, for where no CSS reaches."""
    text = json.dumps(spec)
    for name, (light, _) in COLOURS.items():
        text = text.replace(variable(name), light)
    found: Spec = json.loads(text)
    return found


def spec_of(chart: alt.LayerChart | alt.FacetChart, *, height: float) -> Spec:
    """Return a chart as Vega-Lite takes it, as wide as its place."""
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    return {**spec, "config": CONFIG, "background": None, "autosize": {"type": "fit-x", "contains": "padding"}}


def bars(rows: Sequence[Row], *, title: str) -> Spec:
    """Return bars from zero: rows of `name`, `value`, `shown` and `role`."""
    placed = _placed(rows)
    scale = alt.Scale(zero=True, nice=False, domainMin=0)
    data = _chart(placed)
    track = data.mark_rule(strokeWidth=9, clip=True, color=variable("line"), opacity=0.6).encode(
        y=_row_axis(len(rows)), x=alt.value(0), x2=alt.value("width")
    )
    value = data.mark_rule(strokeWidth=9, clip=True).encode(
        y=_row_axis(len(rows)),
        x=alt.X("zero:Q", scale=scale, axis=None, title=title),
        x2="value:Q",
        color=alt.Color("colour:N", scale=None),
        tooltip=[alt.Tooltip("name:N", title="name"), alt.Tooltip("shown:N", title=title)],
    )
    return spec_of(alt.layer(track, value, *_names(data, len(rows))), height=len(rows) * ROW_PX)


def ranges(rows: Sequence[Row], *, title: str) -> Spec:
    """Return points with their intervals: rows of `name`, `value`, `low`, `high`, `shown` and `role`."""
    placed = _placed(rows)
    data = _chart(placed)
    x = alt.X("value:Q", title=title, scale=_around(rows), axis=alt.Axis(tickCount=4, format="~g"))
    across = _row_axis(len(rows))
    guide = data.mark_rule(color=variable("line")).encode(y=across, x=alt.value(0), x2=alt.value("width"))
    colour = alt.Color("colour:N", scale=None)
    span = data.mark_rule(strokeWidth=3, opacity=0.45).encode(
        y=across, x=alt.X("low:Q", title=title), x2="high:Q", color=colour
    )
    point = data.mark_point(filled=True, size=80, opacity=1).encode(
        y=across,
        x=x,
        color=colour,
        shape=alt.Shape("shape:N", scale=None),
        tooltip=[alt.Tooltip("name:N", title="name"), alt.Tooltip("interval:N", title=title)],
    )
    return spec_of(alt.layer(guide, span, point, *_names(data, len(rows))), height=len(rows) * ROW_PX)


def spreads(rows: Sequence[Row], bins: Sequence[Row], *, title: str) -> Spec:
    """Return histograms, one under the other, each on its median and interval (as `ranges` takes them).

    `bins` are of `at` (the row), `low`, `high` and `share` of the row's highest bin.
    """
    data = _chart(_placed(rows))
    counted = _chart([{**each, "top": each["at"] - TALLEST * each["share"]} for each in bins])
    x = alt.X("low:Q", title=title, scale=alt.Scale(type="log", nice=False), axis=_decades(rows, bins))
    across = _row_axis(len(rows), row_px=TALL_ROW_PX)
    columns = counted.mark_rect(opacity=0.9).encode(
        x=x, x2="high:Q", y=across, y2="top:Q", color=alt.Color("colour:N", scale=None), tooltip=["shown:N"]
    )
    floor = data.mark_rule(color=variable("line")).encode(y=across, x=alt.value(0), x2=alt.value("width"))
    colour = alt.Color("colour:N", scale=None)
    span = data.mark_rule(strokeWidth=4, opacity=0.45).encode(x=x, x2="high:Q", y=across, color=colour)
    median = data.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("value:Q", title=title), y=across, color=colour, shape=alt.Shape("shape:N", scale=None)
    )
    names = _names(data, len(rows), above=-TALL_ROW_PX * TALLEST - 9, row_px=TALL_ROW_PX)
    return spec_of(alt.layer(floor, columns, span, median, *names), height=len(rows) * TALL_ROW_PX)


def points(rows: Sequence[Row], *, x: str, y: str, rule: float | None = None) -> Spec:
    """Return score against cost: rows of `x`, `y`, each with `_low` and `_high`, `name`, `role`, `hollow` and `faint`."""
    data = _chart([_dressed(row) for row in rows])
    ends = [{"low": row["x_low"], "high": row["x_high"]} for row in rows]
    wide = max(end["high"] for end in ends) > 4 * min(end["low"] for end in ends) > 0
    scale = alt.Scale(type="log", nice=False, padding=20) if wide else alt.Scale(zero=False, nice=True, padding=20)
    axis = _decades(ends) if wide else alt.Axis(tickCount=5, format="~g")
    along = alt.X("x:Q", title=x, scale=scale, axis=axis)
    lows = [{"value": row["y"], "low": row["y_low"], "high": row["y_high"]} for row in rows]
    up = alt.Y("y:Q", title=y, scale=_around(lows), axis=alt.Axis(tickCount=5, format="~g"))
    colour, faint = alt.Color("colour:N", scale=None), alt.Opacity("opacity:Q", scale=None)
    across = data.mark_rule(strokeWidth=2).encode(
        x=alt.X("x_low:Q", title=x), x2="x_high:Q", y=up, color=colour, opacity=faint
    )
    high = data.mark_rule(strokeWidth=2).encode(
        x=along, y=alt.Y("y_low:Q", title=y), y2="y_high:Q", color=colour, opacity=faint
    )
    mark = data.mark_point(size=130, strokeWidth=2, opacity=1).encode(
        x=along,
        y=up,
        stroke=alt.Stroke("colour:N", scale=None),
        fill=alt.Fill("fill:N", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        opacity=faint,
        tooltip=[
            alt.Tooltip("name:N", title="form"),
            alt.Tooltip("x_shown:N", title=x),
            alt.Tooltip("y_shown:N", title=y),
        ],
    )
    limit = [] if rule is None else [_limit(rule)]
    return spec_of(alt.layer(*limit, across, high, mark), height=320)


def stairs(rows: Sequence[Row], front: Sequence[Row], *, x: str, y: str, limit: float | None) -> Spec:
    """Return a search's trials with the line of those that nothing beats: rows of `x`, `y`, `name` and `role`."""
    data = _chart([_dressed(row) for row in rows])
    along = alt.X("x:Q", title=x, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5, format="~s"))
    up = alt.Y("y:Q", title=y, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5, format="~g"))
    line = (
        _chart(list(front))
        .mark_line(interpolate="step-after", color=variable("network"), opacity=0.5)
        .encode(x=along, y=up, order=alt.Order("x:Q"))
    )
    mark = data.mark_point(size=110, filled=True, opacity=1).encode(
        x=along,
        y=up,
        color=alt.Color("colour:N", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        tooltip=[alt.Tooltip("name:N", title="trial"), alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y)],
    )
    return spec_of(alt.layer(*([] if limit is None else [_limit(limit)]), line, mark), height=320)


def strips(cells: Sequence[Row], names: Sequence[str], *, title: str) -> Spec:
    """Return a strip of cells for each name: cells of `at` (the strip), `x`, `shown`, `apart` (0 and more) and `tip`."""
    data = _chart([_shaded(cell) for cell in cells])
    labels = _chart([{"at": number, "name": name} for number, name in enumerate(names)])
    across, count = _row_axis(len(names)), max(cell["x"] for cell in cells)
    scale = alt.Scale(domain=[0.5, count + 0.5], nice=False, zero=False)
    x = alt.X("left:Q", title=title, scale=scale, axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    cell = data.mark_rule(strokeWidth=14, clip=True).encode(
        x=x,
        x2="right:Q",
        y=across,
        color=alt.Color("colour:N", scale=None),
        tooltip=[alt.Tooltip("tip:N", title="layer")],
    )
    name = labels.mark_text(align="left", dy=ABOVE - 2, fontSize=12, color=variable("ink"), limit=NAME_PX)
    number = data.transform_filter("datum.apart > 0").mark_text(fontSize=10, color=variable("page"))
    return spec_of(
        alt.layer(
            cell,
            name.encode(y=across, x=alt.value(0), text="name:N"),
            number.encode(x=alt.X("x:Q", title=title), y=across, text="shown:N"),
        ),
        height=len(names) * ROW_PX,
    )


def _shaded(cell: Row) -> dict[str, Any]:
    colour = variable("good" if not cell["apart"] else "unsure" if cell["apart"] == 1 else "bad")
    return {**cell, "left": cell["x"] - 0.46, "right": cell["x"] + 0.46, "colour": colour}


def matrix(cells: Sequence[Row], labels: Sequence[str], *, numbered: bool) -> Spec:
    """Return a square of counts: cells of `true`, `answer`, `count`, `share` of the true class, and `right`."""
    data = _chart([{**each, "colour": variable("network" if each["right"] else "control")} for each in cells])
    sort = list(labels)
    axis = alt.Axis(
        labelAngle=-90 if len(labels) * max(map(len, labels)) > MOST_LETTERS else 0,
        labelLimit=90,
        orient="top",
        domain=False,
        ticks=False,
    )
    across = alt.X("answer:N", sort=sort, title="answered", axis=axis)
    down = alt.Y("true:N", sort=sort, title="true", axis=alt.Axis(labelLimit=90, domain=False, ticks=False))
    tooltip = ["true:N", alt.Tooltip("answer:N", title="answered"), "count:Q"]
    square = data.mark_rect(stroke=variable("line"), strokeWidth=0.5).encode(
        x=across,
        y=down,
        color=alt.Color("colour:N", scale=None),
        opacity=alt.Opacity("strength:Q", scale=None),
        tooltip=tooltip,
    )
    layers = [square]
    if numbered:
        shown = data.mark_text(fontSize=11).encode(
            x=across, y=down, text="shown:N", color=alt.Color("ink:N", scale=None)
        )
        layers.append(shown)
    return spec_of(alt.layer(*layers), height=max(160, min(640, 30 * len(labels))))


def _decades(*rows: Iterable[Row]) -> alt.Axis:
    """Return an axis of a logarithmic scale with at most seven round numbers on it: 1, 2, 5 of each decade, or 1 alone."""
    every = [row for part in rows for row in part if row["low"] > 0]
    low, high = min(row["low"] for row in every), max(row["high"] for row in every)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 3 else (1, 3) if len(decades) <= 5 else (1,)
    values = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    return alt.Axis(format="~g") if len(values) < 2 else alt.Axis(values=values, format="~g")


def _chart(values: Sequence[Row]) -> alt.Chart:
    return alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]  # Altair's schema classes carry no types


def _limit(value: float) -> alt.Chart:
    drawn: alt.Chart = (
        _chart([{"limit": value}]).mark_rule(strokeDash=[5, 4], color=variable("muted")).encode(y="limit:Q")
    )
    return drawn


def _dressed(row: Row) -> dict[str, Any]:
    colour = variable(row["role"])
    fill = variable("page") if row.get("hollow") else colour
    return {
        **row,
        "colour": colour,
        "fill": fill,
        "shape": SHAPES[row["role"]],
        "opacity": 0.4 if row.get("faint") else 1,
    }


def _placed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{**_dressed(row), "at": number, "zero": 0} for number, row in enumerate(rows)]


def _names(data: alt.Chart, count: int, *, above: float = ABOVE, row_px: int = ROW_PX) -> list[alt.Chart]:
    """Return the layers that write a row's name at its left end and what it shows at its right."""
    across = _row_axis(count, row_px=row_px)
    name = data.mark_text(align="left", dy=above, limit=NAME_PX, fontSize=12, color=variable("ink"))
    shown = data.mark_text(align="right", dy=above, fontSize=12, color=variable("muted"))
    return [
        name.encode(y=across, x=alt.value(0), text="name:N"),
        shown.encode(y=across, x=alt.value("width"), text="shown:N"),
    ]


def _row_axis(count: int, *, row_px: int = ROW_PX) -> alt.Y:
    scale = alt.Scale(domain=[-0.7, count - 0.7], range=[0, count * row_px], nice=False, zero=False)
    return alt.Y("at:Q", axis=None, scale=scale)


def _around(rows: Iterable[Row]) -> alt.Scale:
    """Return a scale that holds every interval with a little air."""
    every = list(rows)
    low, high = min(row["low"] for row in every), max(row["high"] for row in every)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return alt.Scale(domain=[low - air, high + air], nice=False, zero=False)


_TEXT = {"labelColor": variable("muted"), "titleColor": variable("muted"), "labelFontSize": 11, "titleFontSize": 12}
CONFIG: Spec = {
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "titleFontWeight": 400,
        "domainColor": variable("line"),
        "tickColor": variable("line"),
        "gridColor": variable("line"),
        "gridOpacity": 0.7,
    },
    "axisY": {"domain": False, "ticks": False},
}
"""What all charts share."""
