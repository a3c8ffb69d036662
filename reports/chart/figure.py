"""Charts as plain data: their marks and axes as plotly takes them, without colours.

The page gives each theme its own colours. A trace carries plotly's keys, and a few that the page's
script takes out before it draws: `hue` and `shape` (numbers of `reports/chart/palette.py`), `dash`
(a number of the script's list), `role` (`front` or `ideal`: dotted, in the theme's soft colour),
`names` (what the points are, unescaped, for the table under the chart), and of a heat map `shown`
(its texts for that table) and `diverging` (its scale has two hues). Models and classes have their
place on an axis by `keys`, never by what a reader calls them: plotly draws places of equal text on
each other. Such an axis carries `labels` and `briefs` (for a wide and a narrow page), and `every`:
one in how many has room for its label.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.results.interval import Estimate
from reports.chart.palette import Mark
from reports.column import BY_KEY
from reports.estimate import has_interval
from reports.naming import Names, name_apart
from reports.ranking import Entry

Trace = dict[str, Any]
MAX_ROWS = 40  # rows that all have their name on an axis
MAX_CLASSES = 34  # classes that all have


@dataclass(frozen=True)
class Chart:
    """A place for figures, of which the page shows one at a time."""

    key: str
    title: str
    wide: bool = False
    kind: str = "plain"  # of a `curve` the page's script makes the traces, from the curves' data


@dataclass(frozen=True)
class Figure:
    """One figure of a chart, chosen by its tab; the caption states what it shows."""

    chart: Chart
    caption: str
    traces: Sequence[Trace]
    x: str = ""
    y: str = ""
    layout: dict[str, Any] = field(default_factory=dict)
    key: str = ""  # the chart's own if it has one figure; links to the page hold it
    tab: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """The figure as the page's script reads it."""
        return {
            "key": self.key or self.chart.key,
            "chart": self.chart.key,
            "title": self.chart.title,
            "tab": self.tab,
            "caption": self.caption,
            "traces": self.traces,
            "x": self.x,
            "y": self.y,
            "layout": self.layout,
            "kind": self.chart.kind,
        }


def label_of(names: Names) -> str:
    """Return a label, escaped, since plotly reads tags in text."""
    return html.escape(names.label)


def caption_name(entry: Entry) -> str:
    """Return a row's name as a caption has it."""
    return entry.names.title


def row_keys(rows: Sequence[Entry]) -> list[str]:
    """Return the rows' places on an axis of rows."""
    return [entry.key for entry in rows]


def row_names(rows: Sequence[Entry]) -> list[str]:
    """Return the rows' names, for the table under a chart."""
    return [entry.name for entry in rows]


def row_labels(rows: Sequence[Entry]) -> list[str]:
    """Return the rows' names as chart text."""
    return [label_of(entry.names) for entry in rows]


def column_values(rows: Sequence[Entry], key: str) -> list[float]:
    """Return the rows' numbers of a column that all of them have, in the unit of its axis."""
    return [to_axis_unit(entry.numbers[key].value, key) for entry in rows]


def by_family(rows: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Return the label and the rows of each family, families by name."""
    families: dict[str, list[Entry]] = {name: [] for name in sorted({e.family for e in rows})}
    for entry in rows:
        families[entry.family].append(entry)
    labels = [label_of(names) for names in name_apart([(name,) for name in families])]
    return list(zip(labels, families.values(), strict=True))


def axis_title(key: str) -> str:
    """Return a column's title with its unit."""
    column = BY_KEY[key]
    unit = {"bytes": "MB", "seconds": "s"}.get(column.kind, column.unit)
    return f"{column.title} ({unit})" if unit else column.title


def to_axis_unit(number: float, key: str) -> float:
    """Return a column's number in the unit of its axis: bytes as MB."""
    return number / 1e6 if BY_KEY[key].kind == "bytes" else number


def row_axis(rows: Sequence[Entry]) -> dict[str, Any]:
    """Return the axis of rows, the first one at the top or on the left."""
    return _axis_of_places(row_keys(rows), [entry.names for entry in rows], MAX_ROWS)


def column_of_rows(rows: Sequence[Entry]) -> dict[str, Any]:
    """Return the axis of rows that stand below each other."""
    return row_axis(rows) | {"autorange": "reversed"}


def class_axis(names: Sequence[str], order: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the axis of classes, by number, in an order of their own if they have one."""
    numbers = range(len(names)) if order is None else order
    called = name_apart([(name,) for name in names])
    ordered = [called[number] for number in numbers]
    return _axis_of_places(class_keys(numbers), ordered, MAX_CLASSES) | {"tickangle": -60}


def class_keys(numbers: Iterable[int]) -> list[str]:
    """Return the places of classes on an axis of classes."""
    return [str(number) for number in numbers]


def _axis_of_places(keys: Sequence[str], names: Sequence[Names], most: int) -> dict[str, Any]:
    return {
        "keys": keys,
        "labels": [label_of(each) for each in names],
        "briefs": [html.escape(each.brief) for each in names],
        "every": max(1, math.ceil(len(keys) / most)),
    }


def draw_bars(name: str, values: Sequence[float], rows: Sequence[Entry], hue: int) -> Trace:
    """Return a horizontal bar for each row."""
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(values),
        "y": row_keys(rows),
        "names": row_names(rows),
        "hue": hue,
    }


def draw_parts(parts: Mapping[str, Sequence[float]], rows: Sequence[Entry]) -> list[Trace]:
    """Return the bars of several parts, each in a hue of its own."""
    return [draw_bars(name, parts[name], rows, hue) for hue, name in enumerate(parts)]


def draw_dots(name: str, values: Sequence[float], rows: Sequence[Entry], number: int) -> Trace:
    """Return a mark for each row, with the hue and the shape of this number."""
    dots = {"type": "scatter", "mode": "markers", "shape": number}
    return draw_bars(name, values, rows, number) | dots


def draw_line(
    name: str, xs: Sequence[Any], ys: Sequence[float], names: Sequence[str], mark: Mark
) -> Trace:
    """Return a line with marks; `names` say what its points are."""
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


def draw_points(
    name: str, xs: Sequence[Any], ys: Sequence[float], names: Sequence[str], mark: Mark
) -> Trace:
    """Return marks without a line; `names` say what they are."""
    return draw_line(name, xs, ys, names, mark) | {"mode": "markers"}


def draw_family(
    label: str, rows: Sequence[Entry], xs: Sequence[float], ys: Sequence[float], mark: Mark
) -> Trace:
    """Return a mark for each model of one family, named when it is pointed at."""
    trace = draw_points(label, xs, ys, row_names(rows), mark)
    return trace | {"hovertext": row_labels(rows)}


def draw_reference(name: str, xs: Sequence[float], ys: Sequence[float]) -> Trace:
    """Return a line to compare others with, which the table under the chart leaves out."""
    quiet = {"mode": "lines", "role": "ideal", "hoverinfo": "skip"}
    return draw_line(name, xs, ys, [""] * len(xs), Mark(0, 0)) | quiet


def error_bars(numbers: Sequence[Estimate]) -> dict[str, Any]:
    """Return plotly's asymmetric error bars, of no length where the interval isn't known."""
    above, below = [], []
    for number in numbers:
        known = has_interval(number)
        above.append(number.high - number.value if known else 0.0)
        below.append(number.value - number.low if known else 0.0)
    return {"array": above, "arrayminus": below}
