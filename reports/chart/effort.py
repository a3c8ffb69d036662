"""What it took until an accuracy was first reached: time, images, work."""

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.results.record import RunRecord
from reports.chart.figure import Chart, Figure, caption_name, column_of_rows, draw_dots
from reports.column import format_value
from reports.ranking import Entry, best_first
from reports.view import View

REACHED = Chart("reach", "Time to accuracy")
THRESHOLDS = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)  # percent of validation top-1
MAX_THRESHOLDS = 3  # the highest ones that are drawn
# Axis and tab of each effort, in the order of `effort_to`.
EFFORTS = (
    ("Training time (s)", "Time"),
    ("Images trained on", "Images"),
    ("Multiply-adds of training", "Work"),
)
PASSES = 3  # forward and twice backward: multiply-adds of training for one of the forward pass


def draw_effort(view: View) -> list[Figure]:
    """Return time, images and multiply-adds until each validation top-1 was first reached."""
    rows = []
    for entry in best_first(view.largest, "top1"):
        if any(epoch.evaluation for cell in entry.finished for epoch in cell.record.epochs):
            rows.append(entry)
    enough = min(2, len(rows))  # models that make a threshold worth drawing
    reached = {}
    for threshold in THRESHOLDS:
        there = [entry for entry in rows if effort_to(entry, threshold)]
        if there and len(there) >= enough:
            reached[threshold] = there
    drawn = {threshold: reached[threshold] for threshold in list(reached)[-MAX_THRESHOLDS:]}
    if not drawn:
        return []
    return [_draw_effort(number, rows, drawn) for number in range(len(EFFORTS))]


def _draw_effort(
    number: int, rows: Sequence[Entry], reached: Mapping[int, Sequence[Entry]]
) -> Figure:
    x, tab = EFFORTS[number]
    traces = []
    for place, (threshold, there) in enumerate(reached.items()):
        efforts = [effort_to(entry, threshold)[number] for entry in there]
        traces.append(draw_dots(f"{threshold} %", efforts, there, place))
    highest = max(reached)
    first = min(reached[highest], key=lambda entry: effort_to(entry, highest)[number])
    effort = effort_to(first, highest)
    amount = f"{effort[number]:.3g} ({x.lower()})"
    if number == 0:
        amount = f"{format_value(effort[0], 'seconds')} of training"
    caption = f"First to reach {highest} % on validation: {caption_name(first)}, after {amount}"
    missed = len(rows) - len(reached[highest])
    caption += f"; {missed} of {len(rows)} models never reached it." if missed else "."
    layout = {
        "xaxis": {"type": "log"},
        "yaxis": column_of_rows(rows),
        "rows": len(rows),
    }
    key = f"reach-{tab.lower()}" if number else "reach"
    return Figure(REACHED, caption, traces, x, "", layout, key, tab)


def effort_to(entry: Entry, threshold: float) -> tuple[float, ...]:
    """Return the seconds, images and multiply-adds until validation top-1 first was `threshold`.

    The median of all seeds. A seed that ended below is censored: it counts as one that takes longer
    than any other. Empty where the median seed never got there.
    """
    efforts = [_effort_of_seed(cell.record, threshold) for cell in entry.finished]
    # Of an even number the higher middle one: a mean with a censored seed would be infinite.
    medians = tuple(statistics.median_high(column) for column in zip(*efforts, strict=True))
    return medians if medians and math.isfinite(medians[0]) else ()


def _effort_of_seed(record: RunRecord, threshold: float) -> tuple[float, float, float]:
    for epoch in record.epochs:
        if epoch.evaluation and epoch.evaluation.top1 >= threshold:
            work = PASSES * (record.multiply_adds or 0) * epoch.images
            return epoch.seconds, epoch.images, work
    return math.inf, math.inf, math.inf
