"""Two quantities against each other, a mark a model, with the front of those that nobody beats in both."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.interval import Estimate
from reports.chart.figure import Figure, Trace, axis_title, error_bars, label, scaled
from reports.chart.label import Place, place_labels
from reports.chart.palette import Mark
from reports.column import BY_KEY, show_column
from reports.ranking import Entry, Group, best_first, has_interval, pareto_front

TRADEOFFS = (
    "train_images_per_second",
    "infer_images_per_second",
    "latency_ms_p50",
    "peak_memory_bytes",
    "num_parameters",
    "multiply_adds",
)
LOG_FROM = 8  # an axis whose values differ by more than this is logarithmic


def tradeoffs(group: Group, marks: Mapping[str, Mark], suffix: str = "") -> list[Figure]:
    """Accuracy against every cost that was measured for two models or more."""
    found = [tradeoff(group, key, marks, suffix) for key in TRADEOFFS]
    return [figure for figure in found if figure is not None]


def tradeoff(group: Group, key: str, marks: Mapping[str, Mark], suffix: str = "") -> Figure | None:
    """Top-1 against one column, with intervals, the Pareto front and direct labels.

    None without a point.
    """
    rows = [entry for entry in best_first(group, "top1") if key in entry.numbers]
    if not rows:
        return None
    column = BY_KEY[key]
    front = pareto_front(group, key, higher=column.better == "higher")
    values = [scaled(entry.numbers[key].value, key) for entry in rows]
    log = min(values) > 0 and max(values) / min(values) > LOG_FROM
    first = {entry.key for entry in front}
    points = [(x, entry.numbers["top1"].value) for x, entry in zip(values, rows, strict=True)]
    positions = place_labels(
        points, [label(e.model) for e in rows], [e.key in first for e in rows], log_x=log
    )
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
        {
            "xaxis": {"type": "log" if log else "linear"},
            "annotations": _tied(points, rows, positions, log=log),
        },
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
    points: Sequence[tuple[float, float]],
    rows: Sequence[Entry],
    places: Sequence[Place],
    *,
    log: bool,
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


def _front_line(front: Sequence[Entry], key: str) -> Trace:
    line = sorted(
        (scaled(e.numbers[key].value, key), e.numbers["top1"].value, e.model) for e in front
    )
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
