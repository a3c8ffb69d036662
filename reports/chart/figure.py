"""The page's charts as plain data: what plotly draws, without colours (the page gives each theme its own).

A trace carries plotly's own keys, and a few that the page's script takes out before it draws:
`hue`, `shape` and `dash` (numbers of reports/chart/palette.py), `role` (`front`, `ideal`: drawn in
the text's colour) and `names` (what the points are, unescaped, for the table twin).
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.results.interval import Estimate
from reports.chart.palette import Mark
from reports.column import BY_KEY
from reports.ranking import Entry, has_interval

Trace = dict[str, Any]
MAX_LABEL = 30  # characters of a name in a chart


@dataclass(frozen=True)
class Figure:
    """One chart. `caption` states its finding.

    Figures of one `chart` are shown one at a time, chosen by `tab`.
    """

    key: str
    chart: str
    title: str
    tab: str
    caption: str
    traces: tuple[Trace, ...]
    x: str = ""
    y: str = ""
    layout: dict[str, Any] = field(default_factory=dict)
    kind: str = "plain"
    wide: bool = False


def label(name: str) -> str:
    """A name as chart text.

    Cut to MAX_LABEL characters, and escaped, since plotly reads tags in text.
    """
    return html.escape(name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…")


def axis_title(key: str) -> str:
    """A column's title with its unit."""
    column = BY_KEY[key]
    unit = {"bytes": "MB", "seconds": "s"}.get(column.kind, column.unit)
    return f"{column.title} ({unit})" if unit else column.title


def scaled(number: float, key: str) -> float:
    """A column's number in the unit of its axis: bytes as MB."""
    return number / 1e6 if BY_KEY[key].kind == "bytes" else number


def bar(name: str, values: Sequence[float], rows: Sequence[Entry], hue: int) -> Trace:
    """A bar a row, lying."""
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(values),
        "y": [label(entry.model) for entry in rows],
        "names": [entry.model for entry in rows],
        "hue": hue,
    }


def dots(name: str, values: Sequence[float], rows: Sequence[Entry], number: int) -> Trace:
    """A mark a row, with a colour and a shape by number."""
    marked = {"type": "scatter", "mode": "markers", "shape": number}
    return bar(name, values, rows, number) | marked


def line(
    name: str, xs: Sequence[float], ys: Sequence[float], names: Sequence[str], mark: Mark
) -> Trace:
    """A line with marks; `names` say what the points are."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(xs),
        "y": list(ys),
        "names": list(names),
        "hue": mark.hue,
        "shape": mark.shape,
    }


def ideal(name: str, xs: Sequence[float], ys: Sequence[float]) -> Trace:
    """A line to hold others against; it is in no table twin."""
    quiet = {"mode": "lines", "role": "ideal", "hoverinfo": "skip"}
    return line(name, xs, ys, [""] * len(xs), Mark(0, 0)) | quiet


def error_bars(numbers: Sequence[Estimate]) -> dict[str, Any]:
    """Plotly's asymmetric error bars; none where the interval isn't known."""
    known = [
        number if has_interval(number) else Estimate(number.value, number.value, number.value)
        for number in numbers
    ]
    return {
        "array": [n.high - n.value for n in known],
        "arrayminus": [n.value - n.low for n in known],
    }
