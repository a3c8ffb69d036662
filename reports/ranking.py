"""Who stands where.

The rows of the page's table, which of them may be ranked together, their ranks and ratios.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.interval import Estimate, top1_estimate
from bench.results.record import Comparison, Measurement, RunRecord
from bench.results.verdict import (
    RANKED_TOGETHER,
    launched_rate,
    pareto,
    rank_with_ties,
    ranking_key,
    rate_intervals,
)
from reports.column import COLUMNS
from reports.frame import MEASURED, chosen, derived, measurements_of, text_of
from reports.runs import Cell, Run, Source


@dataclass(frozen=True)
class Entry:
    """One row: a model of a run with all its seeds.

    `numbers` holds what was measured, by the column's key.
    """

    key: str  # what names the row in links: run and model
    run: Run
    cells: tuple[Cell, ...]
    group: int
    numbers: dict[str, Estimate]

    @property
    def record(self) -> RunRecord:
        """The record that stands for the model: the first finished one, else the first."""
        return next((cell.record for cell in self.finished), self.cells[0].record)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.record.model

    @property
    def family(self) -> str:
        """The model's family; `other` if its record doesn't say."""
        return text_of(self.record.spec, "family") or "other"

    @cached_property
    def finished(self) -> tuple[Cell, ...]:
        """The seeds that ended well."""
        return tuple(cell for cell in self.cells if cell.record.status == "ok")

    @property
    def unfinished(self) -> tuple[Cell, ...]:
        """The seeds that failed, ran out of memory, diverged, were interrupted or still go on."""
        return tuple(cell for cell in self.cells if cell.record.status != "ok")

    @cached_property
    def measured(self) -> dict[str, Measurement]:
        """The comparison's measurements of this model, by metric."""
        return {m.metric: m for m in measurements_of(self.record, self.run.comparison)}

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Which test images each finished seed got right, (seeds, n).

        (0, 0) if no predictions are there.
        """
        rows = [
            a["label"] == a["predicted"]
            for a in (_answers(c, ("label", "predicted")) for c in self.finished)
            if a
        ]
        return (
            np.stack(rows)
            if rows and len({len(row) for row in rows}) == 1
            else np.zeros((0, 0), dtype=bool)
        )

    @cached_property
    def predictions(self) -> dict[str, NDArray[Any]]:
        """Class, predicted class and confidence of every test image, the seeds one after another.

        Empty without.
        """
        names = ("label", "predicted", "confidence")
        each = [a for a in (_answers(cell, names) for cell in self.finished) if a]
        return {
            name: np.concatenate([a[name] for a in each]) if each else np.empty(0, dtype=np.int64)
            for name in names
        }


def _answers(cell: Cell, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a cell's predictions; empty if they are missing or don't fit its record."""
    arrays, accuracy = cell.arrays("predictions.npz", names), cell.record.accuracy
    num_classes = len(cell.record.data.class_names)
    if (
        not arrays
        or accuracy is None
        or any(a.shape != (accuracy.num_images,) for a in arrays.values())
    ):
        return {}
    classes = np.concatenate([arrays["label"], arrays["predicted"]])
    if classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= num_classes:
        return {}
    return arrays


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked together, and what they share (the names of RANKED_TOGETHER)."""

    key: dict[str, object]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Rank:
    """A place in one ranking; `tied` if another row's interval overlaps at the same place."""

    place: int
    tied: bool


def entries_of(source: Source) -> list[Entry]:
    """One row for each model of each run under each set of rules, in the order of the runs."""
    groups: dict[str, int] = {}
    together: dict[tuple[int, str, int], list[Cell]] = {}
    for number, run in enumerate(source.runs):
        for cell in run.cells:
            group = groups.setdefault(repr(ranking_key(cell.record)), len(groups))
            together.setdefault((number, cell.record.model, group), []).append(cell)
    spans = [comparison_intervals(run.comparison) for run in source.runs]
    entries: dict[str, Entry] = {}
    for (number, model, group), cells in together.items():
        run = source.runs[number]
        key = f"{run.name}/{model}"
        key = (
            key if key not in entries else f"{key} ({group + 1})"
        )  # its seeds ran under different rules
        entries[key] = Entry(key, run, tuple(cells), group, estimates_of(cells, run, spans[number]))
    return list(entries.values())


def groups_of(entries: Sequence[Entry]) -> list[Group]:
    """The rows by what may be ranked together, in order of first appearance.

    Within a group, best top-1 first.
    """
    found: dict[int, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.group, []).append(entry)
    return [
        Group(ranking_key(members[0].record), tuple(sorted(members, key=_by_top1)))
        for _, members in sorted(found.items())
    ]


def _by_top1(entry: Entry) -> tuple[bool, float]:
    top1 = entry.numbers.get("top1")
    return top1 is None, -top1.value if top1 else 0.0


def shared_and_different(groups: Sequence[Group]) -> tuple[list[str], list[str]]:
    """Of what must agree in a ranking.

    The names that agree over all groups, and those that don't.
    """
    same = [
        name for name in RANKED_TOGETHER if len({repr(group.key[name]) for group in groups}) <= 1
    ]
    return same, [name for name in RANKED_TOGETHER if name not in same]


Intervals = dict[tuple[str, str], tuple[float, float]]  # model, metric -> interval


def comparison_intervals(comparison: Comparison | None) -> Intervals:
    """The intervals of everything that a comparison sampled, worked out together."""
    sampled = [
        (model, m)
        for model, measurements in (comparison.measurements if comparison else {}).items()
        for m in measurements
        if m.images is not None or m.metric == "latency_ms"
    ]
    intervals = rate_intervals([m for _, m in sampled])
    return {(model, m.metric): span for (model, m), span in zip(sampled, intervals, strict=True)}


def estimates_of(cells: Sequence[Cell], run: Run, spans: Intervals) -> dict[str, Estimate]:
    """Every figure of a row with its interval (both ends equal the value where there is none)."""
    records = [cell.record for cell in cells if cell.record.status == "ok"]
    if not records:
        return {}
    numbers = _accuracies(records) | _costs(records)
    for m in measurements_of(records[0], run.comparison):
        span = spans.get((records[0].model, m.metric))
        launches = _launches_of(run, records[0].model, m.metric) if m.images is not None else []
        if m.metric in MEASURED and len(launches) > 1:
            numbers[m.metric] = launched_rate(launches)
        elif m.metric == "latency_ms":
            numbers["latency_ms_p50"] = _estimate(m.percentile(50), span)
            numbers["latency_ms_p99"] = without_interval(m.percentile(99))
        elif m.metric in MEASURED:
            numbers[m.metric] = _estimate(m.value, span)
    fits = [
        m.value
        for record in records
        for m in record.measurements
        if m.metric == "fit_images_per_second"
    ]
    if fits:
        numbers["fit_images_per_second"] = without_interval(sum(fits) / len(fits))
    numbers |= derived(records[0], run.comparison)
    return {name: number for name, number in numbers.items() if math.isfinite(number.value)}


def _launches_of(run: Run, model: str, metric: str) -> list[Measurement]:
    """What each launch measured of a model."""
    found: dict[int, Measurement] = {}
    for comparison in reversed(run.rounds):
        rows = [row for row in comparison.measurements.get(model, ()) if row.metric == metric]
        if rows:
            found[comparison.launch] = rows[0]
    return list(found.values())


def _estimate(value: float, span: tuple[float, float] | None) -> Estimate:
    """A value with its interval; what was not sampled (memory, a training's own rate) has none."""
    return Estimate(value, *span) if span else without_interval(value)


def _accuracies(records: Sequence[RunRecord]) -> dict[str, Estimate]:
    evaluated = [record.accuracy for record in records if record.accuracy is not None]
    if not evaluated:
        return {}
    numbers = {
        "top1": top1_estimate(evaluated),
        "top5": without_interval(sum(a.top5 for a in evaluated) / len(evaluated)),
    }
    supers = [a.superclass_top1 for a in evaluated if a.superclass_top1 is not None]
    return numbers | (
        {"superclass_top1": without_interval(sum(supers) / len(supers))} if supers else {}
    )


def _costs(records: Sequence[RunRecord]) -> dict[str, Estimate]:
    first = records[0]
    costs: dict[str, float | None] = {
        "num_parameters": first.num_parameters,
        "multiply_adds": first.multiply_adds,
        "epochs": sum(len(record.epochs) for record in records) / len(records),
    }
    for name in ("best_validation_top1", "top1_best_on_test"):
        best = [
            value
            for value in (chosen(record)[name] for record in records)
            if isinstance(value, float)
        ]
        costs[name] = sum(best) / len(best) if best else None
    seconds = [record.train_seconds for record in records if record.train_seconds is not None]
    costs["train_seconds"] = sum(seconds) / len(seconds) if seconds else None
    return {
        name: without_interval(float(value)) for name, value in costs.items() if value is not None
    }


def without_interval(value: float) -> Estimate:
    """A value without an interval."""
    return Estimate(value, value, value)


def has_interval(number: Estimate) -> bool:
    """Whether there is an interval to show: known at both ends, and wider than its value."""
    return math.isfinite(number.low) and math.isfinite(number.high) and number.low < number.high


def ranks_of(group: Group) -> dict[str, dict[str, Rank]]:
    """Places in every column that has a better direction, column -> row's key -> rank.

    Overlapping intervals tie.
    """
    ranks: dict[str, dict[str, Rank]] = {}
    for column in COLUMNS:
        if column.better is None:
            continue
        rows = [entry for entry in group.entries if column.key in entry.numbers]
        spans = [_upward(entry.numbers[column.key], column.better == "higher") for entry in rows]
        places = rank_with_ties(spans)
        ranks[column.key] = {
            entry.key: Rank(place, places.count(place) > 1)
            for entry, place in zip(rows, places, strict=True)
        }
    return ranks


def _upward(number: Estimate, higher: bool) -> tuple[float, float]:
    return (number.low, number.high) if higher else (-number.high, -number.low)


def best_first(group: Group, key: str) -> list[Entry]:
    """The rows that have a number in a column where more is better, best first."""
    return sorted(
        (e for e in group.entries if key in e.numbers), key=lambda e: -e.numbers[key].value
    )


def pareto_front(group: Group, key: str, *, higher: bool) -> list[Entry]:
    """The rows that no other beats in both top-1 and the column `key`, most accurate first."""
    rows = [entry for entry in best_first(group, "top1") if key in entry.numbers]
    sign = 1 if higher else -1
    keep = pareto(
        [(entry.numbers["top1"].value, sign * entry.numbers[key].value) for entry in rows]
    )
    return [entry for entry, kept in zip(rows, keep, strict=True) if kept]
