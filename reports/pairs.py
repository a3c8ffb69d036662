"""Pairs of rows: how many times as fast, how many points better, and whether that can be told from noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.results.interval import Estimate, holm, top1_difference
from bench.results.record import Comparison, Measurement
from bench.results.verdict import (
    chained_ratio,
    false_claims,
    launched_ratio,
    speed_p_values,
    speed_ratio,
    speed_ratios,
    verdict,
)
from reports.ranking import Entry, Group

SPEEDS = ("train_images_per_second", "infer_images_per_second")
SIGNIFICANCE = 0.05
MAX_PAIRS = 1_600  # of one group and metric: 40 models each against each; beyond, fewer baselines

Judgement = Literal["same", "faster", "slower", "better", "worse", "undecided"]


@dataclass(frozen=True)
class Pair:
    """One row against a baseline.

    A ratio of rates, or points of top-1, with its interval and what it proves.
    """

    value: float
    low: float
    high: float
    judgement: Judgement


Pairs = dict[str, dict[str, Pair]]  # baseline's key -> row's key -> pair
MeasurementPair = tuple[Measurement, Measurement]


def baselines_of(group: Group, preferred: str | None = None) -> list[Entry]:
    """The rows that others can be held against.

    All of a group of up to 40, else the preferred and the best.
    """
    finished = [entry for entry in group.entries if entry.numbers]
    first = [entry for entry in finished if entry.model == preferred]
    rest = [entry for entry in finished if entry.model != preferred]
    return (first + rest)[: max(3, MAX_PAIRS // max(1, len(finished)))]


def speed_pairs(group: Group, metric: str, baselines: Sequence[Entry]) -> Pairs:
    """Ratios of a rate to each baseline's, round by round; only within a run, where the rounds are shared.

    No pair is called faster or slower whose p, adjusted for all pairs of the group (Holm), isn't
    significant.
    """
    found: list[tuple[Entry, Entry, Estimate, float]] = []
    once: dict[int, list[tuple[Entry, Entry, MeasurementPair]]] = {}
    for base, entry in _each_once(group, baselines):
        launches = _in_same_rounds(entry, base, metric)
        if len(launches) == 1:
            once.setdefault(len(launches[0][0].merged), []).append((base, entry, launches[0]))
        elif launches:
            found.append((base, entry, *launched_ratio(launches)))
        elif chain := _through_reference(entry, base, metric):
            found.append((base, entry, *chain))
    for alike in once.values():
        measured = [both for *_, both in alike]
        found += [
            (base, entry, ratio, p)
            for (base, entry, _), ratio, p in zip(
                alike, speed_ratios(measured), speed_p_values(measured), strict=True
            )
        ]
    pairs: Pairs = {}
    for (base, entry, ratio, _), p in zip(found, holm([p for *_, p in found]), strict=True):
        back = Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else np.inf)
        pairs.setdefault(base.key, {})[entry.key] = Pair(*ratio, verdict(ratio.low, ratio.high, p))
        pairs.setdefault(entry.key, {})[base.key] = Pair(*back, verdict(back.low, back.high, p))
    return pairs


def _in_same_rounds(entry: Entry, base: Entry, metric: str) -> list[MeasurementPair]:
    """Both rows' measurements from every launch that visited both in the same rounds."""
    if entry.run is not base.run:
        return []
    both = []
    for comparison in entry.run.rounds:
        own, other = (find_measurement(comparison, row.model, metric) for row in (entry, base))
        if own and other and len(own.merged) == len(other.merged):
            both.append((own, other))
    return both


def _through_reference(entry: Entry, base: Entry, metric: str) -> tuple[Estimate, float] | None:
    """The ratio of rows that were measured in different groups, through the model that both groups share."""
    if entry.run is not base.run:
        return None
    halves = []
    for row in (entry, base):
        held = [c for c in entry.run.rounds if find_measurement(c, row.model, metric)]
        if not held:
            return None
        own, shared = (
            find_measurement(held[0], name, metric) for name in (row.model, held[0].reference)
        )
        if own is None or shared is None or len(own.merged) != len(shared.merged):
            return None
        halves.append((own, shared))
    (own, first), (other, second) = halves
    return chained_ratio(Estimate(*speed_ratio(own, first)), Estimate(*speed_ratio(second, other)))


def find_measurement(comparison: Comparison, model: str, metric: str) -> Measurement | None:
    """One measurement of a comparison."""
    return next(
        (row for row in comparison.measurements.get(model, ()) if row.metric == metric), None
    )


def top1_pairs(group: Group, baselines: Sequence[Entry]) -> Pairs:
    """Points of top-1 above each baseline on the same test images.

    P adjusted for all pairs of the group (Holm).
    """
    keys = [
        (base, entry)
        for base, entry in _each_once(group, baselines)
        if _on_same_images(entry, base)
    ]
    compared = [top1_difference(entry.correct, base.correct) for base, entry in keys]
    adjusted = holm([p for _, p in compared])
    pairs: Pairs = {}
    for (base, entry), (points, _), p in zip(keys, compared, adjusted, strict=True):
        pairs.setdefault(base.key, {})[entry.key] = _judged(points, p)
        pairs.setdefault(entry.key, {})[base.key] = _judged(
            Estimate(-points.value, -points.high, -points.low), p
        )
    return pairs


def _each_once(group: Group, baselines: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Every pair of a baseline and a row, in one direction."""
    seen: set[str] = set()
    for base in baselines:
        seen.add(base.key)
        yield from ((base, entry) for entry in group.entries if entry.key not in seen)


def _on_same_images(entry: Entry, base: Entry) -> bool:
    return base.correct.size > 0 and entry.correct.shape[-1] == base.correct.shape[-1]


def _judged(points: Estimate, p: float) -> Pair:
    side: Judgement = "better" if points.value > 0 else "worse"
    return Pair(*points, side if p < SIGNIFICANCE else "undecided")


@dataclass(frozen=True)
class Floor:
    """A model against itself.

    The ratio, and how often a third of the rounds would have claimed a winner.
    """

    model: str
    ratio: Pair
    claims: int
    windows: int


def noise_floor(entries: Sequence[Entry]) -> dict[str, Floor]:
    """The reference of each run measured against itself in training, by run."""
    floors = {}
    for entry in entries:
        comparison = entry.run.comparison
        if comparison is None or comparison.reference != entry.model:
            continue
        twin = next((m for m in comparison.same_model_twice if m.metric == SPEEDS[0]), None)
        own = entry.measured.get(SPEEDS[0])
        if twin and own and len(twin.merged) == len(own.merged):
            ratio = Estimate(*speed_ratio(twin, own))
            pair = Pair(*ratio, verdict(ratio.low, ratio.high))
            floors[entry.run.name] = Floor(entry.model, pair, *false_claims(twin, own))
    return floors


def is_finite(pair: Pair) -> bool:
    """Whether both ends of the interval are known."""
    return bool(np.isfinite([pair.low, pair.high]).all())
