"""Accuracy against cost, a mark for each model, with the front of those that none beats in both."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.choice import share_on_front
from bench.results.interval import Estimate
from reports.candidates import candidates_of
from reports.chart.figure import (
    Chart,
    Figure,
    Trace,
    axis_title,
    by_family,
    caption_name,
    column_values,
    draw_family,
    draw_reference,
    error_bars,
    label_of,
    row_keys,
    row_labels,
    row_names,
    to_axis_unit,
)
from reports.chart.label import Place, Point, place_labels
from reports.chart.palette import Mark
from reports.choice_text import chance_text
from reports.column import BY_KEY, COLUMNS, format_figure
from reports.estimate import has_interval
from reports.ranking import Entry, Group, best_first, pareto_front
from reports.view import View

COSTS = tuple(column.key for column in COLUMNS if column.tradeoff)
LOG_FROM = 8  # an axis whose values differ by more than this factor is logarithmic
MAX_GROUPS = 4  # a chart each; the table shows all groups
MAX_NAMED = 8  # models of a front that the caption names
LEAST_CHANCE = 0.05  # to be on the front, of a model that is named though it was beaten


def draw_tradeoffs(view: View) -> list[Figure]:
    """Return top-1 against every cost that was measured, a chart for each of the first groups."""
    figures = []
    for number, group in enumerate(view.groups[:MAX_GROUPS], start=1):
        # The first group's chart has no number, so that links to it outlive a second group.
        suffix = f"-{number}" if number > 1 else ""
        title = "Accuracy against cost" + (f", group {number}" if number > 1 else "")
        chart = Chart(f"tradeoff{suffix}", title, wide=True)
        for cost in COSTS:
            rows = [entry for entry in best_first(group, "top1") if cost in entry.numbers]
            if rows:
                key = f"tradeoff-{cost}{suffix}"
                figures.append(_draw_tradeoff(chart, key, group, rows, cost, view.marks))
    return figures


def _draw_tradeoff(
    chart: Chart,
    key: str,
    group: Group,
    rows: Sequence[Entry],
    cost: str,
    marks: Mapping[str, Mark],
) -> Figure:
    """Return top-1 against one cost, with intervals, the Pareto front and direct labels."""
    column = BY_KEY[cost]
    xs = column_values(rows, cost)
    points = [_place_of(entry, cost) for entry in rows]
    log = min(xs) > 0 and max(xs) / min(xs) > LOG_FROM
    front = pareto_front(group, cost, higher=column.better == "higher")
    front_keys = {entry.key for entry in front}
    on_front = [entry.key in front_keys for entry in rows]
    chances = _chances_of_front(group, cost)
    places = place_labels(points, row_labels(rows), on_front, log_x=log)
    by_row = dict(zip(row_keys(rows), places, strict=True))
    traces = []
    for label, members in by_family(rows):
        mark = marks[members[0].family]
        trace = _draw_members(label, members, cost, mark, by_row)
        if chances:
            trace["hovertext"] = [_with_chance(entry, chances) for entry in members]
        traces.append(trace)
    traces.append(_draw_front(front, cost))
    layout = {
        "xaxis": {"type": "log" if log else "linear"},
        "annotations": _label_lines(points, rows, places, log=log),
    }
    caption = _caption(front, rows, cost, chances)
    x = axis_title(cost)
    return Figure(chart, caption, traces, x, "Top-1 (%)", layout, key=key, tab=column.title)


def _chances_of_front(group: Group, cost: str) -> dict[str, float]:
    """Return how likely each row is to be on the front, by its key; none where nothing is known.

    Of one row, or of figures without an interval, there is nothing to say.
    """
    columns = [candidates_of(group, key) for key in ("top1", cost)]
    accuracy, costs = columns
    if accuracy is None or costs is None or (accuracy.is_exact and costs.is_exact):
        return {}
    shares = share_on_front(accuracy, costs)
    found = zip(group.entries, shares.tolist(), strict=True)
    chances = {entry.key: share for entry, share in found if not math.isnan(share)}
    return chances if len(chances) > 1 else {}


def _with_chance(entry: Entry, chances: Mapping[str, float]) -> str:
    """Return a row's label with its chance to be on the front, for when it is pointed at."""
    label = label_of(entry.names)
    if entry.key not in chances:
        return label
    return f"{label}: {chance_text(chances[entry.key])} likely to be on the front"


def _place_of(entry: Entry, cost: str) -> Point:
    across = Estimate(*(to_axis_unit(number, cost) for number in entry.numbers[cost]))
    top1 = entry.numbers["top1"]
    return Point(across.value, top1.value, _ends(across), _ends(top1))


def _ends(number: Estimate) -> tuple[float, float]:
    return (number.low, number.high) if has_interval(number) else (number.value, number.value)


def _draw_members(
    label: str, rows: Sequence[Entry], cost: str, mark: Mark, places: Mapping[str, Place]
) -> Trace:
    tops = [entry.numbers["top1"] for entry in rows]
    costs = []
    for entry in rows:
        in_axis_unit = [to_axis_unit(number, cost) for number in entry.numbers[cost]]
        costs.append(Estimate(*in_axis_unit))
    xs, ys = column_values(rows, cost), column_values(rows, "top1")
    trace = draw_family(label, rows, xs, ys, mark)
    trace["mode"] = "markers+text"
    trace["text"] = [_label_beside(entry, places[entry.key]) for entry in rows]
    trace["textposition"] = [places[entry.key].side or "top center" for entry in rows]
    trace["error_y"] = error_bars(tops)
    if any(has_interval(number) for number in costs):
        trace["error_x"] = error_bars(costs)
    return trace


def _label_beside(entry: Entry, place: Place) -> str:
    """Return a label with spaces towards its point; empty if it doesn't stand beside it."""
    text = label_of(entry.names)
    if not place.side:
        return ""
    if place.side.endswith("right"):
        return f"  {text}"
    if place.side.endswith("left"):
        return f"{text}  "
    return text


def _label_lines(
    points: Sequence[Point],
    rows: Sequence[Entry],
    places: Sequence[Place],
    *,
    log: bool,
) -> list[dict[str, Any]]:
    """Return the labels at the end of a line from their point, as plotly's annotations."""
    annotations = []
    for point, entry, place in zip(points, rows, places, strict=True):
        if place.shift is None:
            continue
        # plotly takes exponents for an annotation's place on a logarithmic axis.
        annotation = {
            "x": math.log10(point.x) if log else point.x,
            "y": point.y,
            "text": label_of(entry.names),
            "ax": place.shift[0],
            "ay": place.shift[1],
        }
        annotations.append(annotation)
    return annotations


def _draw_front(front: Sequence[Entry], cost: str) -> Trace:
    costs, tops = column_values(front, cost), column_values(front, "top1")
    corners = sorted(zip(costs, tops, row_names(front), strict=True))
    xs, ys, names = zip(*corners, strict=True)
    # Between two models the steps go through the corner that both beat.
    steps = "vh" if BY_KEY[cost].better == "higher" else "hv"
    front_line = {"names": list(names), "line": {"shape": steps}, "role": "front"}
    return draw_reference("Pareto front", xs, ys) | front_line


def _caption(
    front: Sequence[Entry], rows: Sequence[Entry], cost: str, chances: Mapping[str, float]
) -> str:
    column = BY_KEY[cost]
    if len(rows) == 1:
        numbers = rows[0].numbers
        measured = format_figure(numbers[cost].value, cost)
        return f"{caption_name(rows[0])}: {measured} at {numbers['top1'].value:.1f} % top-1."
    names = _list_some(front, chances)
    caption = f"On the Pareto front of top-1 and {column.title.lower()} "
    caption += f"({column.better} is better)"
    caption += ", with the probability that it truly is" if chances else ""
    caption += f": {names}."
    beaten = len(rows) - len(front)
    if beaten:
        caption += f" Each of the other {beaten} of {len(rows)} models is beaten in both by one"
        caption += " of these."
    ahead = {entry.key for entry in front}
    doubtful = [
        entry
        for entry in rows
        if entry.key not in ahead and chances.get(entry.key, 0.0) >= LEAST_CHANCE
    ]
    if doubtful:
        doubtful.sort(key=lambda entry: -chances[entry.key])
        caption += f" Beaten as measured, but perhaps on it: {_list_some(doubtful, chances)}."
    return caption


def _list_some(rows: Sequence[Entry], chances: Mapping[str, float]) -> str:
    """Return the names of the first rows, each with its chance where there is one."""
    said = []
    for entry in rows[:MAX_NAMED]:
        chance = f" ({chance_text(chances[entry.key])})" if entry.key in chances else ""
        said.append(caption_name(entry) + chance)
    more = len(rows) - MAX_NAMED
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")
