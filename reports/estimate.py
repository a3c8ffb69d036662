"""A row's figures with their intervals: what the tidy table has, and how sure that is."""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bench.results.image_interval import top1_estimate
from bench.results.interval import Estimate
from bench.results.metric import FIGURES, METRICS, TRAINING, list_metrics
from bench.results.record import Comparison, Measurement
from bench.results.reliability import estimate
from bench.results.verdict import launched_rate, rate_intervals
from reports.fold import fold_top1, folds_of
from reports.frame import Field, columns_of, derive_figures, figure, row_of
from reports.runs import Cell, Run

# What each training measured of itself, unlike a comparison, which measures a model once.
TRAINING_COLUMNS = tuple(chain.from_iterable(row.columns for row in list_metrics(TRAINING)))
# Columns of which a row shows the mean over its seeds.
SEED_COLUMNS = (
    "top5",
    "superclass_top1",
    "epochs",
    "best_validation_top1",
    "top1_best_on_test",
    "train_seconds",
    *(column.key for column in FIGURES if column.as_difference),
    *(column.key for column in TRAINING_COLUMNS),
)
# Columns that are the same for all seeds.
MODEL_COLUMNS = (
    "num_parameters",
    "multiply_adds",
    *(column.key for column in FIGURES if column.key not in SEED_COLUMNS),
)
Intervals = dict[tuple[str, str], tuple[float, float]]  # model, metric -> interval


def comparison_intervals(comparison: Comparison | None) -> Intervals:
    """Return the intervals of everything that a comparison sampled.

    In one call, since a bootstrap of many series takes little longer than that of one.
    """
    if comparison is None:
        return {}
    sampled: list[tuple[str, Measurement]] = []
    for model, rows in comparison.measurements.items():
        sampled += [(model, row) for row in rows if _is_sampled(row)]
    intervals = rate_intervals([row for _, row in sampled])
    keys = [(model, row.metric) for model, row in sampled]
    return dict(zip(keys, intervals, strict=True))


def _is_sampled(row: Measurement) -> bool:
    """Return whether a measurement has a value for each round, and so an interval."""
    return row.metric in METRICS and METRICS[row.metric].is_sampled


def estimates_of(cells: Sequence[Cell], run: Run, intervals: Intervals) -> dict[str, Estimate]:
    """Return every figure of a row by column, with its interval.

    The values are those of the tidy table's rows (`frame.row_of`); where there is no interval, both
    ends equal the value.
    """
    finished = [cell for cell in cells if cell.record.status == "ok"]
    rows = [row_of(cell, run.comparison, run=run.name) for cell in finished]
    if not rows:
        return {}
    records = [cell.record for cell in finished]
    numbers: dict[str, Estimate] = {}
    for name in SEED_COLUMNS:
        values = [_number(row[name]) for row in rows if row[name] is not None]
        if values:
            numbers[name] = without_interval(sum(values) / len(values))
    for name in MODEL_COLUMNS:
        if rows[0][name] is not None:
            numbers[name] = without_interval(_number(rows[0][name]))
    # From here on the same values again, where they have an interval.
    numbers |= _sampled_estimates(records[0].model, run, intervals)
    numbers |= derive_figures(records[0], run.comparison)
    evaluated = [record.accuracy for record in records if record.accuracy is not None]
    if evaluated:
        numbers["top1"] = top1_estimate(evaluated, of_folds=fold_top1(finished))
    folds = folds_of(finished)
    for column, scores in stack_scores(finished).items():
        numbers[column] = estimate(column, scores, folds)
    # JSON has no infinity, and a chart has no place for it.
    return {name: number for name, number in numbers.items() if math.isfinite(number.value)}


def stack_scores(cells: Sequence[Cell]) -> dict[str, NDArray[np.float64]]:
    """Return numbers of each image by column, (seeds, n), whose mean is the column's figure.

    Only of columns that all of a model's cells have, for as many images.
    """
    stacked = {}
    for column in cells[0].image_scores if cells else ():
        rows = [cell.image_scores.get(column) for cell in cells]
        found = [row for row in rows if row is not None]
        if len(found) == len(cells) and len({len(row) for row in found}) == 1:
            stacked[column] = np.stack(found)
    return stacked


def _number(value: Field) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def _sampled_estimates(model: str, run: Run, intervals: Intervals) -> dict[str, Estimate]:
    """Return the columns of a model that were sampled round by round, with their intervals."""
    numbers: dict[str, Estimate] = {}
    rows = run.comparison.measurements.get(model, ()) if run.comparison else ()
    for row in rows:
        interval = intervals.get((model, row.metric))
        if interval is None:
            continue
        launches = _launches_of(run, model, row.metric)
        for column in columns_of(row):
            # Processes differ by more than the rounds of one tell, so several launches have the
            # interval of their spread. A time of one image is the first launch's.
            if len(launches) > 1 and row.images is not None:
                numbers[column.key] = launched_rate(launches)
            # The bootstrap is of medians: nothing is known of the other percentiles.
            elif column.statistic in ("value", "p50"):
                numbers[column.key] = Estimate(figure(row, column), *interval)
    return numbers


def _launches_of(run: Run, model: str, metric: str) -> list[Measurement]:
    """Return what each launch measured of a model."""
    found: dict[int, Measurement] = {}
    # From last to first: where several groups of a launch have the model, the first one stands.
    for comparison in reversed(run.rounds):
        row = find_measurement(comparison, model, metric)
        if row:
            found[comparison.launch] = row
    return list(found.values())


def find_measurement(comparison: Comparison, model: str, metric: str) -> Measurement | None:
    """Return a model's measurement of a metric, or None."""
    rows = comparison.measurements.get(model, ())
    return next((row for row in rows if row.metric == metric), None)


def without_interval(value: float) -> Estimate:
    """Return a value as an estimate that has no interval: both ends are the value."""
    return Estimate(value, value, value)


def has_interval(number: Estimate) -> bool:
    """Return whether there is an interval to show: both ends known, and not one point."""
    return -math.inf < number.low < number.high < math.inf
