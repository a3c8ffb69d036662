"""What the models answered, image by image.

Which classes they get right, what they take for what, and how sure they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.image_interval import top1_difference
from bench.results.interval import Estimate, holm
from reports.chart.figure import (
    Chart,
    Figure,
    Trace,
    caption_name,
    class_axis,
    class_keys,
    column_of_rows,
    draw_line,
    draw_points,
    draw_reference,
    error_bars,
    label_of,
    row_keys,
    row_names,
)
from reports.chart.palette import Mark
from reports.pairs import SIGNIFICANCE
from reports.ranking import Entry, best_first
from reports.view import View

CLASS_MAP = Chart("map", "Which classes are hard", wide=True)
CALIBRATION = Chart("calibration", "Confidence against accuracy")
CLASS_GAPS = Chart("gap", "Where the best two differ", wide=True)

MAX_ROWS = 40  # models in one heat map
MAX_CLASSES = 200  # classes that two models are compared in
NUM_BINS = 10  # of confidence
MAX_CONFUSED = 8  # pairs of classes that a model's part of the page lists
MAX_NAMED = 6  # classes that a caption names


def num_classes(entry: Entry) -> int:
    """Return how many classes the data has."""
    return len(entry.record.data.class_names)


def class_percent(entry: Entry) -> NDArray[np.float64]:
    """Return the percent of each class that is right over all seeds, (classes,).

    NaN for a class without test images; empty without predictions.
    """
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    if not labels.size:
        return np.empty(0)
    counts = np.bincount(labels, minlength=num_classes(entry))
    right = np.bincount(labels[labels == predicted], minlength=num_classes(entry))
    percent = np.full(len(counts), np.nan)
    np.divide(100 * right, counts, out=percent, where=counts > 0)
    return percent


def count_confusion(entry: Entry) -> NDArray[np.int64]:
    """Return counts of (true superclass, answered superclass) over all seeds.

    Empty without superclasses or predictions.
    """
    superclass_of = np.asarray(entry.record.data.superclass_of, dtype=np.int64)
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    if not labels.size or not superclass_of.size:
        return np.empty((0, 0), dtype=np.int64)
    size = len(entry.record.data.superclass_names)
    # One number for each pair, so that one count does for all of them.
    pairs = superclass_of[labels] * size + superclass_of[predicted]
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def most_confused(entry: Entry) -> list[tuple[int, int, int]]:
    """Return the most frequent confusions: (true class, answered class, how often)."""
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    wrong = labels != predicted
    size = num_classes(entry)
    pairs, counts = np.unique(labels[wrong] * size + predicted[wrong], return_counts=True)
    # The last key of lexsort counts first: by count, then by classes where counts are equal.
    order = np.lexsort((pairs, -counts))[:MAX_CONFUSED]
    found = []
    for i in order:
        true, answered = divmod(int(pairs[i]), size)
        found.append((true, answered, int(counts[i])))
    return found


def within_superclass(entry: Entry) -> float | None:
    """Return the percent of wrong answers that are in the right superclass; None without any."""
    table = count_confusion(entry)
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    wrong = int((labels != predicted).sum())
    if not table.size or not wrong:
        return None
    right = len(labels) - wrong
    return 100 * (int(np.trace(table)) - right) / wrong


def calibrate(entry: Entry) -> tuple[list[tuple[float, float, int]], float]:
    """Return (mean confidence, percent right, images) of each filled bin, and the error in points.

    The expected calibration error over ten bins of equal width (Guo et al. 2017, "On Calibration
    of Modern Neural Networks", arXiv:1706.04599, equation 3).
    """
    confidence = entry.predictions["confidence"].astype(np.float64)
    right = entry.predictions["label"] == entry.predictions["predicted"]
    # A confidence of exactly 1 would be in an eleventh bin.
    bins = np.clip((confidence * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
    rows = []
    for number in range(NUM_BINS):
        inside = bins == number
        if inside.any():
            sure = 100 * float(confidence[inside].mean())
            true = 100 * float(right[inside].mean())
            rows.append((sure, true, int(inside.sum())))
    gaps = sum(abs(sure - true) * count for sure, true, count in rows)
    return rows, gaps / max(1, len(confidence))


def _answered(view: View) -> list[Entry]:
    """Return the rows of the largest group that have predictions, best first.

    Empty if they are too many for one chart, or answered in different classes.
    """
    rows = [entry for entry in best_first(view.largest, "top1") if entry.predictions["label"].size]
    too_many = len(view.largest.entries) > MAX_ROWS
    same_classes = len({num_classes(entry) for entry in rows}) == 1
    return rows if same_classes and not too_many else []


def draw_class_maps(view: View) -> list[Figure]:
    """Return the percent right by model and class, and by superclass where there are any."""
    rows = _answered(view)
    if not rows:
        return []
    data = rows[0].record.data
    percent = np.stack([class_percent(entry) for entry in rows])
    figures = [_draw_class_map("class", "Classes", rows, percent, data.class_names)]
    if data.superclass_names:
        superclass_of = np.asarray(data.superclass_of)
        means = []
        for number in range(len(data.superclass_names)):
            means.append(np.nanmean(percent[:, superclass_of == number], axis=1))
        names = data.superclass_names
        by_superclass = np.stack(means, axis=1)
        figures.append(_draw_class_map("superclass", "Superclasses", rows, by_superclass, names))
    return figures


def _draw_class_map(
    key: str, tab: str, rows: Sequence[Entry], percent: NDArray[np.float64], names: Sequence[str]
) -> Figure:
    means = np.nan_to_num(percent.mean(axis=0))
    order = np.argsort(-means, kind="stable").tolist()
    ordered = [names[i] for i in order]
    trace: Trace = {
        "type": "heatmap",
        "x": class_keys(order),
        "y": row_keys(rows),
        "z": [_rounded(line[order]) for line in percent],
        "names": {"x": ordered, "y": row_names(rows)},
        "zmin": 0,
        "zmax": 100,
        "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}: %{z} % right<extra></extra>",
    }
    best, worst = means[order[0]], means[order[-1]]
    caption = (
        f"Easiest on average: {ordered[0]} ({best:.0f} % right); "
        f"hardest: {ordered[-1]} ({worst:.0f} %). "
        f"Easy classes are on the left, accurate models at the top."
    )
    layout = {
        "yaxis": column_of_rows(rows),
        "rows": len(rows),
        "value": "Percent right",
        "xaxis": class_axis(names, order),
    }
    return Figure(CLASS_MAP, caption, [trace], "Class", "Model", layout, f"map-{key}", tab)


def _rounded(percent: NDArray[np.float64]) -> list[float | None]:
    # JSON has no NaN: a class without test images is null.
    return [None if np.isnan(value) else round(float(value), 1) for value in percent]


def draw_calibration(view: View) -> list[Figure]:
    """Return how often each model is right against how sure it is."""
    traces, errors = [], []
    for entry in _answered(view):
        if not entry.predictions["confidence"].size:
            continue
        points, error = calibrate(entry)
        errors.append((error, entry))
        sure, true, counts = zip(*points, strict=True)
        name, mark = label_of(entry.names), view.marks[entry.family]
        trace = draw_line(name, sure, true, [entry.name] * len(points), mark)
        trace["hovertext"] = [f"{name}, {count} images" for count in counts]
        traces.append(trace)
    if not traces:
        return []
    traces.append(draw_reference("As often right as sure", [0, 100], [0, 100]))
    errors.sort(key=lambda each: (each[0], each[1].name))
    (least, best), (most, worst) = errors[0], errors[-1]
    caption = (
        f"Best calibrated: {caption_name(best)} (expected calibration error {least:.1f} points)"
    )
    caption += f"; worst: {caption_name(worst)} ({most:.1f})." if len(errors) > 1 else "."
    layout = {"xaxis": {"range": [0, 100]}, "yaxis": {"range": [0, 100]}}
    return [Figure(CALIBRATION, caption, traces, "Confidence (%)", "Right (%)", layout)]


def answers_data(entry: Entry) -> dict[str, Any]:
    """Return what the model's part of the page shows of its answers; empty without predictions."""
    if not entry.predictions["label"].size:
        return {}
    return {
        "classes": _rounded(class_percent(entry)),
        "confusion": count_confusion(entry).tolist(),
        "within": within_superclass(entry),
        "confused": most_confused(entry),
    }


def class_gaps(ours: Entry, theirs: Entry) -> list[tuple[int, Estimate, float]]:
    """Return (class, points of top-1 that `ours` is above, p) for every class with test images.

    p is adjusted for the number of classes (Holm).
    """
    labels, folds = ours.labels, ours.folds
    classes = [int(each) for each in np.unique(labels)]
    points, p_values = [], []
    for each in classes:
        inside = labels == each
        difference, p = top1_difference(
            ours.correct[:, inside],
            theirs.correct[:, inside],
            folds=None if folds is None else folds[inside],
        )
        points.append(difference)
        p_values.append(p)
    return list(zip(classes, points, holm(p_values), strict=True))


def draw_class_gaps(view: View) -> list[Figure]:
    """Return the most accurate model against the next, class by class.

    Empty where they didn't answer the same images, or a class has fewer than two.
    """
    rows = [entry for entry in best_first(view.largest, "top1") if entry.correct.size]
    if len(rows) < 2:
        return []
    best, following = rows[:2]
    num_images = best.correct.shape[1]
    if num_images != following.correct.shape[1] or num_classes(best) > MAX_CLASSES:
        return []
    _, images_of_class = np.unique(best.predictions["label"][:num_images], return_counts=True)
    if images_of_class.min() < 2:
        return []
    gaps = sorted(class_gaps(best, following), key=lambda gap: -gap[1].value)
    return [_draw_gaps(best, following, gaps)]


def _draw_gaps(
    best: Entry, following: Entry, gaps: Sequence[tuple[int, Estimate, float]]
) -> Figure:
    class_names = best.record.data.class_names
    numbers, points, p_values = zip(*gaps, strict=True)
    names = [class_names[number] for number in numbers]
    ys = [difference.value for difference in points]
    trace = draw_points(label_of(best.names), class_keys(numbers), ys, names, Mark(0, 0))
    trace["error_y"] = error_bars(points)
    proven = [name for name, p in zip(names, p_values, strict=True) if p < SIGNIFICANCE]
    caption = (
        f"{caption_name(best)} against {caption_name(following)}: they differ significantly in "
        f"{len(proven)} of {len(gaps)} classes (adjusted for the number of classes)"
    )
    caption += f": {', '.join(proven[:MAX_NAMED])}." if proven else "."
    layout = {"xaxis": class_axis(class_names, numbers)}
    return Figure(CLASS_GAPS, caption, [trace], "Class", "Lead in top-1 (points)", layout)
