"""Pairs of rows: how many times as fast, how many points better, and whether that is proven."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bench.results.image_interval import top1_difference
from bench.results.interval import Estimate, holm
from bench.results.metric import FIGURES, METRICS, Better, Column
from bench.results.record import Measurement
from bench.results.reliability import difference
from bench.results.verdict import (
    chained_ratio,
    false_claims,
    launched_ratio,
    speed_p_values,
    speed_ratio,
    speed_ratios,
    verdict,
)
from reports.estimate import find_measurement
from reports.ranking import Entry, Group

SPEEDS = tuple(metric.name for metric in METRICS.values() if metric.speed)
# Means over the test images, beside top-1; without a better direction nothing can be judged.
OF_IMAGES = tuple(column for column in FIGURES if column.as_difference and column.better)
SIGNIFICANCE = 0.05  # at most one group of equal models in twenty is said to differ
# Of one group and metric: 40 models, each against each. The page carries all pairs, so with more
# models it offers fewer baselines, but never fewer than three.
MAX_PAIRS = 1_600
MIN_BASELINES = 3

Judgement = Literal["same", "faster", "slower", "better", "worse", "undecided"]


@dataclass(frozen=True)
class Pair:
    """One row against a baseline: a ratio of rates or points of top-1, and what it proves."""

    value: float
    low: float
    high: float
    judgement: Judgement


Pairs = dict[str, dict[str, Pair]]  # baseline's key -> row's key -> pair
MeasurementPair = tuple[Measurement, Measurement]  # of a row and of its baseline


class Difference(NamedTuple):
    """A row's ratio to a baseline, or its points above, with the p that there is none."""

    base: Entry
    entry: Entry
    estimate: Estimate
    p: float


def baselines_of(group: Group, preferred: str | None = None) -> list[Entry]:
    """Return the rows that others can be compared with, the preferred model first.

    All of a group of up to 40, else as many of the most accurate as MAX_PAIRS allows.
    """
    finished = [entry for entry in group.entries if entry.numbers]
    finished.sort(key=lambda entry: entry.model != preferred)  # stable: the others keep their order
    most = MAX_PAIRS // max(1, len(finished))
    return finished[: max(MIN_BASELINES, most)]


def speed_pairs(group: Group, metric: str, baselines: Sequence[Entry]) -> Pairs:
    """Return ratios of a rate to each baseline's, round by round.

    Only rows of one run are compared, since only they share rounds. A pair is called faster or
    slower only if its p, adjusted for all pairs of the group (Holm 1979), is significant.
    """
    found: list[Difference] = []
    by_rounds: dict[int, list[tuple[Entry, Entry, MeasurementPair]]] = {}
    for base, entry in _each_once(group, baselines):
        launches = _in_same_rounds(entry, base, metric)
        # A single launch waits for the bootstrap below. Several launches are tested by the spread
        # between them, and rows of different groups through the reference that both were beside.
        if len(launches) == 1:
            num_rounds = len(launches[0][0].merged)
            by_rounds.setdefault(num_rounds, []).append((base, entry, launches[0]))
            continue
        if launches:
            found.append(Difference(base, entry, *launched_ratio(launches)))
        else:
            found += _through_reference(entry, base, metric)
    # One bootstrap for all pairs with equally many rounds: 780 take 0.6 s, one for all 0.02 s.
    for alike in by_rounds.values():
        measured = [both for _, _, both in alike]
        ratios, p_values = speed_ratios(measured), speed_p_values(measured)
        for (base, entry, _), ratio, p in zip(alike, ratios, p_values, strict=True):
            found.append(Difference(base, entry, ratio, p))
    pairs: Pairs = {}
    adjusted = holm([each.p for each in found])
    for (base, entry, ratio, _), p in zip(found, adjusted, strict=True):
        # The reverse of a ratio that may be 0 has no upper bound.
        highest = 1 / ratio.low if ratio.low else np.inf
        back = Estimate(1 / ratio.value, 1 / ratio.high, highest)
        pairs.setdefault(base.key, {})[entry.key] = _judge_ratio(ratio, p)
        pairs.setdefault(entry.key, {})[base.key] = _judge_ratio(back, p)
    return pairs


def _judge_ratio(ratio: Estimate, p: float) -> Pair:
    return Pair(*ratio, verdict(ratio.low, ratio.high, p))


def _in_same_rounds(entry: Entry, base: Entry, metric: str) -> list[MeasurementPair]:
    """Return both rows' measurements from every launch that visited both in the same rounds."""
    if entry.run is not base.run:
        return []
    launches = []
    for comparison in entry.run.rounds:
        own = find_measurement(comparison, entry.model, metric)
        other = find_measurement(comparison, base.model, metric)
        if own and other and len(own.merged) == len(other.merged):
            launches.append((own, other))
    return launches


def _through_reference(entry: Entry, base: Entry, metric: str) -> Iterator[Difference]:
    """Yield the ratio of rows measured in different groups, by the model that both groups share."""
    if entry.run is not base.run:
        return
    row, baseline = _beside_reference(entry, metric), _beside_reference(base, metric)
    # A group whose first model couldn't be built was measured beside another one.
    if row is None or baseline is None or row.reference != baseline.reference:
        return
    up = Estimate(*speed_ratio(row.own, row.shared))
    down = Estimate(*speed_ratio(baseline.shared, baseline.own))
    yield Difference(base, entry, *chained_ratio(up, down))


class BesideReference(NamedTuple):
    """A row's measurement, and its group's reference in the same rounds."""

    own: Measurement
    shared: Measurement
    reference: str


def _beside_reference(entry: Entry, metric: str) -> BesideReference | None:
    """Return a row and its group's reference, if both were measured in the same rounds."""
    for comparison in entry.run.rounds:
        own = find_measurement(comparison, entry.model, metric)
        if own is None:
            continue
        shared = find_measurement(comparison, comparison.reference, metric)
        if shared and len(own.merged) == len(shared.merged):
            return BesideReference(own, shared, comparison.reference)
        break  # only the first group that measured the row counts: it is the one that is shown
    return None


def top1_pairs(group: Group, baselines: Sequence[Entry]) -> Pairs:
    """Return points of top-1 above each baseline on the same test images.

    A pair is called better or worse only if its p, adjusted for all pairs of the group (Holm
    1979), is significant.
    """
    found = []
    for base, entry in _each_once(group, baselines):
        # Without predictions, or on other images, accuracies can't be compared image by image.
        if base.correct.size > 0 and entry.correct.shape[-1] == base.correct.shape[-1]:
            points = top1_difference(entry.correct, base.correct, folds=entry.folds)
            found.append(Difference(base, entry, *points))
    return _judge_differences(found, "higher")


def compare_top1(rows: Sequence[tuple[Entry, Entry]]) -> list[Pair]:
    """Return how far each first row is above its second in top-1, both on the same images.

    Judged by p values adjusted for the number of pairs, as in `top1_pairs`.
    """
    found = [
        top1_difference(entry.correct, other.correct, folds=entry.folds) for entry, other in rows
    ]
    adjusted = holm([p for _, p in found])
    return [
        _judge_points(points, p, "higher") for (points, _), p in zip(found, adjusted, strict=True)
    ]


def image_pairs(group: Group, column: Column, baselines: Sequence[Entry]) -> Pairs:
    """Return how far a column's figure is above each baseline's on the same test images.

    A pair is called better or worse as in `top1_pairs`.
    """
    key, found = column.key, []
    for base, entry in _each_once(group, baselines):
        own, other = entry.image_scores.get(key), base.image_scores.get(key)
        if own is not None and other is not None and own.shape[1] == other.shape[1]:
            found.append(Difference(base, entry, *difference(key, own, other, entry.folds)))
    return _judge_differences(found, column.better)


def _judge_differences(found: Sequence[Difference], better: Better | None) -> Pairs:
    """Return the pairs in both directions, by p values adjusted for their number."""
    pairs: Pairs = {}
    adjusted = holm([each.p for each in found])
    for (base, entry, points, _), p in zip(found, adjusted, strict=True):
        back = Estimate(-points.value, -points.high, -points.low)
        pairs.setdefault(base.key, {})[entry.key] = _judge_points(points, p, better)
        pairs.setdefault(entry.key, {})[base.key] = _judge_points(back, p, better)
    return pairs


def _judge_points(points: Estimate, p: float, better: Better | None) -> Pair:
    is_better = points.value > 0 if better == "higher" else points.value < 0
    side: Judgement = "better" if is_better else "worse"
    return Pair(*points, side if p < SIGNIFICANCE else "undecided")


def _each_once(group: Group, baselines: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Yield every pair of a baseline and a row, in one direction."""
    seen: set[str] = set()
    for base in baselines:
        seen.add(base.key)
        for entry in group.entries:
            if entry.key not in seen:
                yield base, entry


@dataclass(frozen=True)
class Floor:
    """A model measured against itself.

    `claims` of `windows` stretches, each a third of the rounds, would have declared a winner.
    """

    model: str
    ratio: Pair
    claims: int
    windows: int


def noise_floor(entries: Sequence[Entry]) -> dict[str, Floor]:
    """Return how the reference of each run did against itself in training, by the run's name."""
    floors = {}
    for entry in entries:
        comparison = entry.run.comparison
        # The reference alone is measured a second time, as a contestant of its own.
        if comparison is None or comparison.reference != entry.model:
            continue
        twice = comparison.same_model_twice
        twin = next((again for again in twice if again.metric == SPEEDS[0]), None)
        own = entry.measured.get(SPEEDS[0])
        if twin and own and len(twin.merged) == len(own.merged):
            ratio = Estimate(*speed_ratio(twin, own))
            pair = Pair(*ratio, verdict(ratio.low, ratio.high))
            floors[entry.run.name] = Floor(entry.model, pair, *false_claims(twin, own))
    return floors


def is_finite(pair: Pair) -> bool:
    """Return whether both ends of the interval are known."""
    return bool(np.isfinite([pair.low, pair.high]).all())
