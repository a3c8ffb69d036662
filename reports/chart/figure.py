"""The page's charts as plain data: what plotly draws, without colours (the page gives each theme its own).

A trace carries plotly's own keys, and a few that the page's script takes out before it draws: `hue`, `shape` and
`dash` (numbers of reports/chart/palette.py), `role` (`front`, `ideal`: drawn in the text's colour) and `names` (what the
points are, unescaped, for the table twin).
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.results.interval import Estimate
from reports.chart.label import Place, place_labels
from reports.chart.palette import Mark
from reports.column import BY_KEY, show_column
from reports.ranking import Entry, Group, has_interval
from reports.verdict_text import front_of, ranked

Trace = dict[str, Any]
TRADEOFFS = ("train_images_per_second", "infer_images_per_second", "latency_ms_p50", "peak_memory_bytes",
             "num_parameters", "multiply_adds")  # fmt: skip
MAX_LABEL = 30  # characters of a name in a chart
WHOLE_TICKS = 12  # epochs up to which each has a tick
LOG_FROM = 8  # an axis whose values differ by more than this is logarithmic


@dataclass(frozen=True)
class Figure:
    """One chart. `caption` states its finding; figures of one `chart` are shown one at a time, chosen by `tab`."""

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
    """A name as chart text: cut to MAX_LABEL characters, and escaped, since plotly reads tags in text."""
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


def line(name: str, xs: Sequence[float], ys: Sequence[float], names: Sequence[str], mark: Mark) -> Trace:
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


def tradeoffs(group: Group, marks: Mapping[str, Mark], suffix: str = "") -> list[Figure]:
    """Accuracy against every cost that was measured for two models or more."""
    found = [tradeoff(group, key, marks, suffix) for key in TRADEOFFS]
    return [figure for figure in found if figure is not None]


def tradeoff(group: Group, key: str, marks: Mapping[str, Mark], suffix: str = "") -> Figure | None:
    """Top-1 against one column, with intervals, the Pareto front and direct labels; None without a point."""
    rows = [entry for entry in ranked(group, "top1") if key in entry.numbers]
    if not rows:
        return None
    column = BY_KEY[key]
    front = front_of(group, key, higher=column.better == "higher")
    values = [scaled(entry.numbers[key].value, key) for entry in rows]
    log = min(values) > 0 and max(values) / min(values) > LOG_FROM
    first = {entry.key for entry in front}
    points = [(x, entry.numbers["top1"].value) for x, entry in zip(values, rows, strict=True)]
    positions = place_labels(points, [label(e.model) for e in rows], [e.key in first for e in rows], log_x=log)
    placed = dict(zip([entry.key for entry in rows], positions, strict=True))
    families = sorted({entry.family for entry in rows})
    traces = [_points([e for e in rows if e.family == f], key, marks[f], placed) for f in families]
    traces.append(_front_line(front, key))
    title = axis_title(key)
    return Figure(
        f"tradeoff-{key}{suffix}",
        f"tradeoff{suffix}",
        f"Accuracy against cost{f', group{suffix}'.replace('-', ' ') if suffix else ''}",
        column.title,
        _tradeoff_caption(front, rows, key),
        tuple(traces),
        title,
        "Top-1 (%)",
        {"xaxis": {"type": "log" if log else "linear"}, "annotations": _tied(points, rows, positions, log=log)},
        wide=True,
    )


def _points(rows: Sequence[Entry], key: str, mark: Mark, placed: Mapping[str, Place]) -> Trace:
    tops = [entry.numbers["top1"] for entry in rows]
    costs = [entry.numbers[key] for entry in rows]
    costs = [Estimate(*(scaled(v, key) for v in number)) for number in costs]
    trace: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "name": label(rows[0].family),
        "x": [number.value for number in costs],
        "y": [number.value for number in tops],
        "names": [entry.model for entry in rows],
        "text": [_spaced(label(entry.model), placed[entry.key].side) for entry in rows],
        "textposition": [placed[entry.key].side or "top center" for entry in rows],
        "hovertext": [label(entry.model) for entry in rows],
        "error_y": error_bars(tops),
        "hue": mark.hue,
        "shape": mark.shape,
    }
    if any(has_interval(number) for number in costs):
        trace["error_x"] = error_bars(costs)
    return trace


def _tied(
    points: Sequence[tuple[float, float]], rows: Sequence[Entry], places: Sequence[Place], *, log: bool
) -> list[dict[str, Any]]:
    """The names that a line ties to their points, as plotly's annotations (which want a log axis' exponents)."""
    return [
        {
            "x": math.log10(x) if log else x,
            "y": y,
            "text": label(entry.model),
            "ax": place.shift[0],
            "ay": place.shift[1],
        }
        for (x, y), entry, place in zip(points, rows, places, strict=True)
        if place.shift is not None
    ]


def _spaced(text: str, side: str) -> str:
    """A direct label with room between it and its point; empty without a side."""
    if not side:
        return ""
    return f"  {text}" if side.endswith("right") else f"{text}  " if side.endswith("left") else text


def error_bars(numbers: Sequence[Estimate]) -> dict[str, Any]:
    """Plotly's asymmetric error bars; none where the interval isn't known."""
    known = [
        number if has_interval(number) else Estimate(number.value, number.value, number.value) for number in numbers
    ]
    return {"array": [n.high - n.value for n in known], "arrayminus": [n.value - n.low for n in known]}


def _front_line(front: Sequence[Entry], key: str) -> Trace:
    line = sorted((scaled(e.numbers[key].value, key), e.numbers["top1"].value, e.model) for e in front)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [x for x, _, _ in line],
        "y": [y for _, y, _ in line],
        "names": [name for _, _, name in line],
        "line": {"shape": "vh" if BY_KEY[key].better == "higher" else "hv"},
        "hoverinfo": "skip",
        "role": "front",
    }


def _tradeoff_caption(front: Sequence[Entry], rows: Sequence[Entry], key: str) -> str:
    column = BY_KEY[key]
    what = f"top-1 and {column.title.lower()}"
    if len(rows) == 1:
        only = rows[0]
        return f"{only.model}: {show_column(only.numbers[key].value, key)} at {only.numbers['top1'].value:.1f} % top-1."
    listed = ", ".join(entry.model[:60] for entry in front[:8]) + (
        f" and {len(front) - 8} more" if len(front) > 8 else ""
    )
    return (
        f"On the front of {what} ({column.better} is better): {listed}. "
        f"{len(rows) - len(front)} of {len(rows)} models are beaten in both by one of these."
    )


CURVES = (("epoch", "Epoch", "epoch"), ("seconds", "Training time (s)", "time"), ("images", "Images seen", "images"))


def curve_figures(entries: Sequence[Entry]) -> list[Figure]:
    """Training curves by epoch, time and images; the page's script makes the traces from the curves' data."""
    with_curves = [e for e in entries if any(cell.record.epochs for cell in e.cells)]
    if not with_curves:
        return []
    figures = []
    longest = max(
        cell.record.epochs[-1].epoch + 1 for entry in with_curves for cell in entry.cells if cell.record.epochs
    )
    whole = {"xaxis": {"dtick": 1}} if longest <= WHOLE_TICKS else {}
    for value, title, caption in (
        ("top1", "Validation top-1 (%)", _curve_caption(with_curves)),
        ("loss", "Training loss", _loss_caption(with_curves)),
    ):
        if value == "top1" and not any(_evaluated(entry) for entry in with_curves):
            continue
        figures += [
            Figure(
                f"curve-{value}-{axis}",
                "curve",
                "Training curves",
                f"{title.split(' (')[0]} by {short}",
                caption,
                (),
                x,
                title,
                layout=whole if axis == "epoch" else {},
                kind="curve",
                wide=True,
            )
            for axis, x, short in CURVES
        ]
    return figures


def _evaluated(entry: Entry) -> bool:
    return any(epoch.evaluation for cell in entry.cells for epoch in cell.record.epochs)


def _curve_caption(entries: Sequence[Entry]) -> str:
    peaks = [
        (max(epoch.evaluation.top1 for epoch in cell.record.epochs if epoch.evaluation), entry.model)
        for entry in entries
        for cell in entry.cells
        if any(epoch.evaluation for epoch in cell.record.epochs)
    ]
    top1, model = max(peaks)
    return f"The highest validation top-1 of any epoch is {top1:.1f} %, of {model[:60]}. One line a seed."


def _loss_caption(entries: Sequence[Entry]) -> str:
    lasts = [(cell.record.epochs[-1].train_loss, e.model) for e in entries for cell in e.cells if cell.record.epochs]
    loss, model = min(lasts)
    return f"The lowest training loss at the end is {loss:.2f}, of {model[:60]}. One line a seed."


def bottleneck(group: Group) -> list[Figure]:
    """How much of the end-to-end time the loader alone and the step alone take, and which one is the bottleneck."""
    ends, step, loader = "train_images_per_second", "train_step_images_per_second", "loader_images_per_second"
    rows = [e for e in ranked(group, ends) if step in e.numbers and loader in e.numbers]
    if not rows:
        return []
    shares = {
        name: [100 * e.numbers[ends].value / e.numbers[key].value for e in rows]
        for name, key in (("Step alone", step), ("Loader alone", loader))
    }
    waits = [e.model[:60] for e, a, b in zip(rows, *shares.values(), strict=True) if b > a]
    slowest = min(range(len(rows)), key=lambda i: shares["Step alone"][i])
    caption = (
        f"The loader is the bottleneck of {', '.join(waits)}."
        if waits
        else f"The step itself is the bottleneck of every model: it alone takes at least "
        f"{shares['Step alone'][slowest]:.0f} % of the end-to-end time ({rows[slowest].model[:60]})."
    )
    traces = tuple(bar(name, share, rows, hue) for hue, (name, share) in enumerate(shares.items()))
    layout = {"barmode": "group", "yaxis": {"automargin": True, "autorange": "reversed"}, "rows": len(rows)}
    return [
        Figure(
            "bottleneck",
            "bottleneck",
            "Loader, step and end to end",
            "",
            caption,
            traces,
            "Share of end to end (%)",
            "",
            layout,
        )
    ]
