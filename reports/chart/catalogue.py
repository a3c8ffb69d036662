"""Every chart of the page, in its order.

A new chart is a function of the view, which returns its figures (none where the records hold
nothing to draw), and its entry in CHARTS.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any

from reports.chart.class_accuracy import draw_class_accuracy
from reports.chart.classes import draw_calibration, draw_class_gaps, draw_class_maps
from reports.chart.cost import draw_bottleneck, draw_memory, draw_roofline
from reports.chart.curves import curves_data, draw_curves
from reports.chart.deploy import draw_deploy
from reports.chart.effort import draw_effort
from reports.chart.figure import Chart, Figure
from reports.chart.learning import draw_learning
from reports.chart.matrix import draw_pair_matrices
from reports.chart.palette import SHAPES
from reports.chart.scaling import draw_scaling
from reports.chart.tradeoff import draw_tradeoffs
from reports.view import View

CHARTS: tuple[Callable[[View], list[Figure]], ...] = (
    draw_tradeoffs,
    draw_learning,
    draw_curves,
    draw_effort,
    draw_bottleneck,
    draw_memory,
    draw_roofline,
    draw_deploy,
    draw_scaling,
    draw_pair_matrices,
    draw_class_maps,
    draw_class_accuracy,
    draw_calibration,
    draw_class_gaps,
)


def draw_charts(view: View) -> dict[Chart, list[Figure]]:
    """Return the figures of each chart; all but the tradeoffs and curves show the largest group."""
    charts: dict[Chart, list[Figure]] = {}
    for draw in CHARTS:
        for figure in draw(view):
            charts.setdefault(figure.chart, []).append(figure)
    return _fill_rows(charts)


def _fill_rows(charts: dict[Chart, list[Figure]]) -> dict[Chart, list[Figure]]:
    """Return the charts, those that would stand alone in a row of two as wide as the page."""
    filled: dict[Chart, list[Figure]] = {}
    for wide, neighbours in groupby(charts, key=lambda chart: chart.wide):
        *others, last = neighbours
        filled |= {chart: charts[chart] for chart in others}
        alone = len(others) % 2 == 0
        filled[replace(last, wide=wide or alone)] = charts[last]
    return filled


def charts_data(view: View, charts: dict[Chart, list[Figure]]) -> dict[str, Any]:
    """Return what the page's script draws the charts from."""
    data = []
    for figures in charts.values():
        data += [figure.data for figure in figures]
    return {"figures": data, "curves": curves_data(view), "shapes": SHAPES}
