"""What more images bring: top-1 against images a class (`--images-per-class`)."""

import html
from collections.abc import Sequence

from bench.results.record import RunRecord
from reports.chart.figure import Chart, Figure, draw_line, error_bars
from reports.ranking import Entry
from reports.verdict_text import estimate_text
from reports.view import View

LEARNING = Chart("learning", "What more images bring", wide=True)
MOST_CURVES = 12  # the models that are best with most images


def draw_learning(view: View) -> list[Figure]:
    """Return top-1 against images a class, a line for each model that has several of both."""
    curves = sorted(_curves_of(view.entries), key=lambda curve: -curve[-1].numbers["top1"].value)
    if not curves:
        return []
    traces = []
    ticks: set[float] = set()
    for rows in curves[:MOST_CURVES]:
        xs = [images_a_class(entry.record) for entry in rows]
        tops = [entry.numbers["top1"] for entry in rows]
        names = [entry.name for entry in rows]
        best = rows[-1]
        ys = [top.value for top in tops]
        trace = draw_line(html.escape(best.model), xs, ys, names, view.marks[best.family])
        traces.append(trace | {"error_y": error_bars(tops)})
        ticks |= set(xs)
    numbers = [f"{tick:.0f}" for tick in sorted(ticks)]
    layout = {"xaxis": {"type": "log", "tickvals": sorted(ticks), "ticktext": numbers}}
    caption = _caption(curves[0])
    return [Figure(LEARNING, caption, traces, "Images a class", "Top-1 (%)", layout)]


def images_a_class(record: RunRecord) -> float:
    """Return how many images a class a model learnt from, on average."""
    return record.data.num_train / len(record.data.class_names)


def _curves_of(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return rows that differ in their images a class alone, those with fewest first."""
    curves: dict[str, list[Entry]] = {}
    for entry in entries:
        if "top1" in entry.numbers:
            rules = {**entry.rules, "images_per_class": None, "model": entry.model}
            curves.setdefault(repr(rules), []).append(entry)
    found = []
    for rows in curves.values():
        rows.sort(key=lambda entry: images_a_class(entry.record))
        if images_a_class(rows[0].record) < images_a_class(rows[-1].record):
            found.append(rows)
    return found


def _caption(rows: Sequence[Entry]) -> str:
    first, last = rows[0], rows[-1]
    ends = [
        f"{estimate_text(entry.numbers['top1'], 'top1')} from {images_a_class(entry.record):.0f}"
        for entry in (first, last)
    ]
    return f"{last.model}: {ends[0]} images a class, {ends[1]}."
