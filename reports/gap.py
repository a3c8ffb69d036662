"""Where the two most accurate models differ: points of each class that one is above the other, with intervals."""

from collections.abc import Sequence

import numpy as np

from bench.results.interval import Estimate, holm, top1_difference
from reports.chart.figure import Figure, Trace, error_bars, label
from reports.pairs import SIGNIFICANT
from reports.ranking import Entry, Group
from reports.verdict_text import ranked

MAX_CLASSES = 200


def class_gaps(ours: Entry, theirs: Entry) -> list[tuple[int, Estimate, float]]:
    """(class, points that `ours` is above `theirs`, p adjusted for all classes), for every class with test images."""
    labels = ours.answers["label"][: ours.right.shape[1]]
    classes = [int(each) for each in np.unique(labels)]
    found = [top1_difference(ours.right[:, labels == each], theirs.right[:, labels == each]) for each in classes]
    adjusted = holm([p for _, p in found])
    return [(each, points, p) for each, (points, _), p in zip(classes, found, adjusted, strict=True)]


def gap_figure(group: Group) -> list[Figure]:
    """The best row against the next one, class by class; none where they didn't answer the same images."""
    rows = [entry for entry in ranked(group, "top1") if entry.right.size][:2]
    if len(rows) < 2 or rows[0].right.shape[1] != rows[1].right.shape[1]:
        return []
    names = rows[0].record.data.class_names
    if len(names) > MAX_CLASSES or _fewest_images(rows[0]) < 2:
        return []
    gaps = sorted(class_gaps(*rows), key=lambda gap: -gap[1].value)
    return [_figure(rows, gaps, names)]


def _fewest_images(entry: Entry) -> int:
    """Test images of the rarest class that has any."""
    counts = np.unique(entry.answers["label"][: entry.right.shape[1]], return_counts=True)[1]
    return int(counts.min())


def _figure(rows: Sequence[Entry], gaps: Sequence[tuple[int, Estimate, float]], names: Sequence[str]) -> Figure:
    best, following = rows
    points = [gap for _, gap, _ in gaps]
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": label(best.model), "x": [label(names[i]) for i, _, _ in gaps],
        "y": [gap.value for gap in points], "names": [names[i] for i, _, _ in gaps], "error_y": error_bars(points),
        "hue": 0, "shape": 0,
    }  # fmt: skip
    proven = [names[i] for i, _, p in gaps if p < SIGNIFICANT]
    caption = (
        f"{best.model[:60]} against {following.model[:60]}: {len(proven)} of {len(gaps)} classes can be told apart "
        f"(adjusted for their number){': ' + ', '.join(proven[:6]) if proven else ''}."
    )
    layout = {"xaxis": {"tickangle": -60, "nticks": len(gaps) if len(gaps) <= 30 else 34}}
    return Figure(
        "gap", "gap", "Where the best two differ", "", caption, (trace,), "Class", "Points of top-1 above",
        layout, wide=True,
    )  # fmt: skip
