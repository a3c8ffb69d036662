"""Who beats whom: every model against every other, with the verdicts."""

import math
from collections.abc import Sequence

from reports.chart.figure import (
    Chart,
    Figure,
    Trace,
    column_of_rows,
    row_axis,
    row_keys,
    row_names,
)
from reports.column import BY_KEY
from reports.pairs import SPEEDS, Pair, Pairs
from reports.ranking import Entry, best_first
from reports.view import View

MATRIX = Chart("pair", "Who beats whom", wide=True)
MAX_ROWS = 40
MAX_NUMBERED_ROWS = 12  # of more rows the cells are too small for their numbers
UNDECIDED = ("undecided", "same")
# Where a colour is full, and how far from neutral the smallest difference that is proven stands.
FULL_POINTS = 20
FULL_DOUBLINGS = 4
LEAST_STRENGTH = 0.25


def draw_pair_matrices(view: View) -> list[Figure]:
    """Return differences in top-1 and ratios of each speed, a row against a column."""
    figures = []
    for column in ("top1", *SPEEDS):
        pairs = view.largest_pairs[column]
        rows = [entry for entry in best_first(view.largest, column) if pairs.get(entry.key)]
        if 2 <= len(rows) <= MAX_ROWS:
            figures.append(_draw_matrix(rows, column, pairs))
    return figures


def _draw_matrix(rows: Sequence[Entry], column: str, pairs: Pairs) -> Figure:
    in_points = column == "top1"
    strengths, texts, decided = [], [], 0
    for row in rows:
        cells = [pairs.get(base.key, {}).get(row.key) for base in rows]
        strengths.append([_strength(pair, in_points) for pair in cells])
        texts.append([_pair_text(pair, in_points) for pair in cells])
        decided += sum(_is_decided(pair) for pair in cells)
    names, keys = row_names(rows), row_keys(rows)
    trace: Trace = {
        "type": "heatmap",
        "x": keys,
        "y": keys,
        "z": strengths,
        "text": texts,
        "names": {"x": names, "y": names},
        "shown": texts,
        "diverging": True,
        "zmin": -1,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{customdata[0]}<br>against %{customdata[1]}: %{text}<extra></extra>",
    }
    if len(rows) <= MAX_NUMBERED_ROWS:
        trace["texttemplate"] = "%{text}"
    layout = {
        "yaxis": column_of_rows(rows),
        "xaxis": row_axis(rows) | {"tickangle": -40},
        "rows": len(rows) + 3,
        "value": "Verdict",
    }
    title = BY_KEY[column].title
    what = "top-1 on the same images" if in_points else f"{title.lower()} in the same rounds"
    # Each pair stands in the matrix twice, once from either side.
    total = len(rows) * (len(rows) - 1) // 2
    caption = f"{decided // 2} of {total} pairs differ significantly in {what}. "
    caption += "Each cell compares its row with its column."
    return Figure(MATRIX, caption, [trace], "against", "Model", layout, f"pair-{column}", title)


def _is_decided(pair: Pair | None) -> bool:
    return pair is not None and pair.judgement not in UNDECIDED


def _strength(pair: Pair | None, in_points: bool) -> float | None:
    """Return the colour of a cell, from -1 (worse) over 0 (not told apart) to 1 (better).

    None on the diagonal. A proven difference is never near 0, however small it is.
    """
    if pair is None:
        return None
    if not _is_decided(pair):
        return 0.0
    # A ratio and its inverse are equally far from neutral only as logarithms.
    size = pair.value / FULL_POINTS if in_points else math.log2(pair.value) / FULL_DOUBLINGS
    strength = math.copysign(LEAST_STRENGTH, size) + (1 - LEAST_STRENGTH) * size
    return max(-1.0, min(1.0, strength))


def _pair_text(pair: Pair | None, in_points: bool) -> str:
    """Return `+1.2` points or `1.31×`, with `?` if it is undecided and `=` if it is the same."""
    if pair is None:
        return ""
    text = f"{pair.value:+.1f}" if in_points else f"{pair.value:.3g}×"
    sign = {"undecided": " ?", "same": " ="}.get(pair.judgement, "")
    return text + sign
