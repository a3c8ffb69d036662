"""How sure each class's accuracy is, where the classes are few."""

from collections.abc import Sequence

import numpy as np

from bench.results.image_interval import correct_estimate
from bench.results.interval import Estimate
from reports.chart.figure import (
    Chart,
    Figure,
    caption_name,
    class_axis,
    class_keys,
    draw_points,
    error_bars,
    label_of,
)
from reports.chart.palette import Mark
from reports.ranking import Entry, best_first
from reports.verdict_text import estimate_text
from reports.view import View

CLASSES = Chart("classes", "Each class", wide=True)
MOST_CLASSES = 20  # with more, nobody could tell the marks apart
MOST_ROWS = 5


def draw_class_accuracy(view: View) -> list[Figure]:
    """Return the top-1 of each class with its interval, of the most accurate models."""
    rows = [entry for entry in best_first(view.largest, "top1") if entry.correct.size]
    names = rows[0].record.data.class_names if rows else ()
    if not rows or len(names) > MOST_CLASSES:
        return []
    numbers = np.unique(rows[0].labels).tolist()
    texts = [names[number] for number in numbers]
    estimates = [class_estimates(entry, numbers) for entry in rows[:MOST_ROWS]]
    traces = []
    for place, (entry, tops) in enumerate(zip(rows, estimates, strict=False)):
        mark = Mark(place, place)
        trace = draw_points(
            label_of(entry.names), class_keys(numbers), [top.value for top in tops], texts, mark
        )
        traces.append(trace | {"error_y": error_bars(tops)})
    layout = {"xaxis": class_axis(names, numbers)}
    caption = _caption(rows[0], texts, estimates[0])
    return [Figure(CLASSES, caption, traces, "Class", "Top-1 (%)", layout)]


def class_estimates(entry: Entry, numbers: Sequence[int]) -> list[Estimate]:
    """Return the top-1 of these classes in percent, with their intervals."""
    found = []
    for number in numbers:
        inside = entry.labels == number
        folds = None if entry.folds is None else entry.folds[inside]
        found.append(correct_estimate(entry.correct[:, inside], folds))
    return found


def _caption(entry: Entry, names: Sequence[str], tops: Sequence[Estimate]) -> str:
    """Say which class the most accurate model finds hardest, and which easiest."""
    order = sorted(range(len(tops)), key=lambda place: tops[place].value)
    ends = [
        f"{names[place]} {estimate_text(tops[place], 'top1')}" for place in (order[0], order[-1])
    ]
    return f"{caption_name(entry)}, hardest and easiest class: {'; '.join(ends)}."
