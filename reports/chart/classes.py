"""What the models answered, image by image.

Classes that they get right, what they take for what, how sure they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.interval import Estimate, holm, top1_difference
from reports.chart.figure import Figure, Trace, error_bars, label
from reports.chart.palette import Mark
from reports.pairs import SIGNIFICANCE
from reports.ranking import Entry, Group, best_first

MAX_ROWS = 40  # models in one heat map
NUM_BINS = 10
MAX_CONFUSED = 8


def class_percent(entry: Entry) -> NDArray[np.float64]:
    """Percent right of each class over all seeds, (classes,).

    Empty without predictions, NaN for an absent class.
    """
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    if not labels.size:
        return np.empty(0)
    counts = np.bincount(labels, minlength=num_classes(entry))
    right = np.bincount(labels[labels == predicted], minlength=num_classes(entry))
    return np.asarray(
        np.divide(100 * right, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    )


def num_classes(entry: Entry) -> int:
    """How many classes the data has."""
    return len(entry.record.data.class_names)


def confusion(entry: Entry) -> NDArray[np.int64]:
    """Answers by superclass, (true, answered), over all seeds.

    Empty without superclasses or predictions.
    """
    of = np.asarray(entry.record.data.superclass_of, dtype=np.int64)
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    if not labels.size or not of.size:
        return np.empty((0, 0), dtype=np.int64)
    size = len(entry.record.data.superclass_names)
    return np.bincount(of[labels] * size + of[predicted], minlength=size * size).reshape(size, size)


def most_confused(entry: Entry) -> list[tuple[int, int, int]]:
    """The pairs (true class, answered class, how often) that are confused most."""
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    wrong = labels != predicted
    pairs, counts = np.unique(
        labels[wrong] * num_classes(entry) + predicted[wrong], return_counts=True
    )
    order = np.lexsort((pairs, -counts))[:MAX_CONFUSED]
    return [
        (int(p) // num_classes(entry), int(p) % num_classes(entry), int(c))
        for p, c in zip(pairs[order], counts[order], strict=True)
    ]


def within_superclass(entry: Entry) -> float | None:
    """Percent of the wrong answers that are in the right superclass; None if that can't be said."""
    table = confusion(entry)
    labels, predicted = entry.predictions["label"], entry.predictions["predicted"]
    wrong = int((labels != predicted).sum())
    return (
        100 * (int(np.trace(table)) - (len(labels) - wrong)) / wrong
        if table.size and wrong
        else None
    )


def calibration(entry: Entry) -> tuple[list[tuple[float, float, int]], float]:
    """(mean confidence, percent right, images) of each filled bin, and the expected calibration error in points.

    Ten bins of equal width (Guo et al. 2017, arXiv:1706.04599).
    """
    confidence = entry.predictions["confidence"].astype(np.float64)
    right = entry.predictions["label"] == entry.predictions["predicted"]
    bins = np.clip((confidence * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
    rows = [
        (
            100 * float(confidence[bins == b].mean()),
            100 * float(right[bins == b].mean()),
            int((bins == b).sum()),
        )
        for b in range(NUM_BINS)
        if (bins == b).any()
    ]
    error = sum(abs(sure - true) * n for sure, true, n in rows) / max(1, len(confidence))
    return rows, error


def answer_figures(group: Group, marks: Mapping[str, Mark]) -> list[Figure]:
    """The charts that need predictions; none for groups of more than MAX_ROWS models."""
    rows = [entry for entry in best_first(group, "top1") if entry.predictions["label"].size]
    if not rows or len(group.entries) > MAX_ROWS or len({num_classes(entry) for entry in rows}) > 1:
        return []
    return [*_class_maps(rows), *_calibration_figure(rows, marks)]


def _class_maps(rows: Sequence[Entry]) -> list[Figure]:
    data = rows[0].record.data
    percent = np.stack([class_percent(entry) for entry in rows])
    figures = [_class_map("class", "Classes", rows, percent, data.class_names)]
    if data.superclass_names:
        of = np.asarray(data.superclass_of)
        sums = np.stack(
            [np.nanmean(percent[:, of == s], axis=1) for s in range(len(data.superclass_names))],
            axis=1,
        )
        figures.append(_class_map("superclass", "Superclasses", rows, sums, data.superclass_names))
    return figures


def _class_map(
    key: str, tab: str, rows: Sequence[Entry], percent: NDArray[np.float64], names: Sequence[str]
) -> Figure:
    means = np.nan_to_num(percent.mean(axis=0))
    order = [int(i) for i in np.argsort(-means, kind="stable")]
    trace: Trace = {
        "type": "heatmap",
        "x": [label(names[i]) for i in order],
        "y": [label(entry.model) for entry in rows],
        "z": [
            [None if np.isnan(v) else round(float(v), 1) for v in line[order]] for line in percent
        ],
        "names": {"x": [names[i] for i in order], "y": [entry.model for entry in rows]},
        "zmin": 0,
        "zmax": 100,
        "hovertemplate": "%{y}<br>%{x}: %{z} % right<extra></extra>",
    }
    caption = (
        f"Easiest on average: {names[order[0]]} ({means[order[0]]:.0f} % right); "
        f"hardest: {names[order[-1]]} ({means[order[-1]]:.0f} %). Easy to the left, accurate models on top."
    )
    layout = {
        "yaxis": {"autorange": "reversed"},
        "rows": len(rows),
        "value": "Percent right",
        "xaxis": {"tickangle": -60, "nticks": len(names) if len(names) <= 30 else 34},
    }
    return Figure(
        f"map-{key}",
        "map",
        "Which classes are hard",
        tab,
        caption,
        (trace,),
        "Class",
        "Model",
        layout,
        wide=True,
    )


def _calibration_figure(rows: Sequence[Entry], marks: Mapping[str, Mark]) -> list[Figure]:
    found = [(entry, *calibration(entry)) for entry in rows if entry.predictions["confidence"].size]
    if not found:
        return []
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label(entry.model),
            "x": [x for x, _, _ in points],
            "y": [y for _, y, _ in points],
            "names": [entry.model] * len(points),
            "hue": marks[entry.family].hue,
            "shape": marks[entry.family].shape,
            "hovertext": [f"{label(entry.model)}, {n} images" for _, _, n in points],
        }
        for entry, points, _ in found
    ]
    ideal: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "As sure as right",
        "x": [0, 100],
        "y": [0, 100],
        "names": ["", ""],
        "role": "ideal",
        "hoverinfo": "skip",
    }
    errors = sorted((error, entry.model) for entry, _, error in found)
    error, model = errors[0]
    caption = f"Closest to its own confidence: {model[:60]}"
    caption += f" (expected calibration error {error:.1f} points)"
    caption += (
        f"; furthest: {errors[-1][1][:60]} ({errors[-1][0]:.1f})." if len(errors) > 1 else "."
    )
    layout = {"xaxis": {"range": [0, 100]}, "yaxis": {"range": [0, 100]}}
    return [
        Figure(
            "calibration",
            "calibration",
            "Sure or right",
            "",
            caption,
            (*traces, ideal),
            "Confidence (%)",
            "Right (%)",
            layout,
        )
    ]


def answers_data(entry: Entry) -> dict[str, Any]:
    """What the model's part of the page shows of its answers; empty without predictions."""
    if not entry.predictions["label"].size:
        return {}
    return {
        "classes": [None if np.isnan(v) else round(float(v), 1) for v in class_percent(entry)],
        "confusion": confusion(entry).tolist(),
        "within": within_superclass(entry),
        "confused": most_confused(entry),
    }


MAX_CLASSES = 200


def class_gaps(ours: Entry, theirs: Entry) -> list[tuple[int, Estimate, float]]:
    """(class, points that `ours` is above `theirs`, p adjusted for all classes), for every class with test images."""
    labels = ours.predictions["label"][: ours.correct.shape[1]]
    classes = [int(each) for each in np.unique(labels)]
    found = [
        top1_difference(ours.correct[:, labels == each], theirs.correct[:, labels == each])
        for each in classes
    ]
    adjusted = holm([p for _, p in found])
    return [
        (each, points, p) for each, (points, _), p in zip(classes, found, adjusted, strict=True)
    ]


def gap_figure(group: Group) -> list[Figure]:
    """The best row against the next one, class by class.

    None where they didn't answer the same images.
    """
    rows = [entry for entry in best_first(group, "top1") if entry.correct.size][:2]
    if len(rows) < 2 or rows[0].correct.shape[1] != rows[1].correct.shape[1]:
        return []
    names = rows[0].record.data.class_names
    if len(names) > MAX_CLASSES or _fewest_images(rows[0]) < 2:
        return []
    gaps = sorted(class_gaps(*rows), key=lambda gap: -gap[1].value)
    return [_figure(rows, gaps, names)]


def _fewest_images(entry: Entry) -> int:
    """Test images of the rarest class that has any."""
    counts = np.unique(entry.predictions["label"][: entry.correct.shape[1]], return_counts=True)[1]
    return int(counts.min())


def _figure(
    rows: Sequence[Entry], gaps: Sequence[tuple[int, Estimate, float]], names: Sequence[str]
) -> Figure:
    best, following = rows
    points = [gap for _, gap, _ in gaps]
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": label(best.model),
        "x": [label(names[i]) for i, _, _ in gaps],
        "y": [gap.value for gap in points],
        "names": [names[i] for i, _, _ in gaps],
        "error_y": error_bars(points),
        "hue": 0,
        "shape": 0,
    }
    proven = [names[i] for i, _, p in gaps if p < SIGNIFICANCE]
    caption = (
        f"{best.model[:60]} against {following.model[:60]}: {len(proven)} of {len(gaps)} classes can be told apart "
        f"(adjusted for their number){': ' + ', '.join(proven[:6]) if proven else ''}."
    )
    layout = {"xaxis": {"tickangle": -60, "nticks": len(gaps) if len(gaps) <= 30 else 34}}
    return Figure(
        "gap",
        "gap",
        "Where the best two differ",
        "",
        caption,
        (trace,),
        "Class",
        "Points of top-1 above",
        layout,
        wide=True,
    )
