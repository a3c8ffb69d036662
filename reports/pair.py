"""Pairs of rows: how many times as fast, how many points better, and whether that can be told from noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.verdict import Estimate, holm, speed_p_values, speed_ratio, speed_ratios, top1_difference, verdict
from reports.standing import Entry, Group

SPEEDS = ("train_images_per_second", "infer_images_per_second")
SIGNIFICANT = 0.05
MAX_PAIRS = 1_600  # of one group and metric: 40 models each against each; beyond, fewer baselines

Judgement = Literal["same", "faster", "slower", "better", "worse", "undecided"]


@dataclass(frozen=True)
class Pair:
    """One row against a baseline: a ratio of rates, or points of top-1, with its interval and what it proves."""

    value: float
    low: float
    high: float
    judgement: Judgement


Pairs = dict[str, dict[str, Pair]]  # baseline's key -> row's key -> pair


def baselines_of(group: Group, preferred: str | None = None) -> list[Entry]:
    """The rows that others can be held against: all of a group of up to 40, else the preferred and the best."""
    finished = [entry for entry in group.entries if entry.numbers]
    first = [entry for entry in finished if entry.model == preferred]
    rest = [entry for entry in finished if entry.model != preferred]
    return (first + rest)[: max(3, MAX_PAIRS // max(1, len(finished)))]


def speed_pairs(group: Group, metric: str, baselines: Sequence[Entry]) -> Pairs:
    """Ratios of a rate to each baseline's, round by round; only within a run, where the rounds are shared.

    No pair is called faster or slower whose p, adjusted for all pairs of the group (Holm), isn't significant.
    """
    held = [(base, entry) for base, entry in _each_once(group, baselines) if _in_same_rounds(entry, base, metric)]
    found: list[tuple[Entry, Entry, Estimate, float]] = []
    for rounds in sorted({len(base.measured[metric].merged) for base, _ in held}):
        alike = [(base, entry) for base, entry in held if len(base.measured[metric].merged) == rounds]
        measured = [(entry.measured[metric], base.measured[metric]) for base, entry in alike]
        found += [
            (base, entry, ratio, p)
            for (base, entry), ratio, p in zip(alike, speed_ratios(measured), speed_p_values(measured), strict=True)
        ]
    pairs: Pairs = {}
    for (base, entry, ratio, _), p in zip(found, holm([p for *_, p in found]), strict=True):
        back = Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else np.inf)
        pairs.setdefault(base.key, {})[entry.key] = Pair(*ratio, verdict(ratio.low, ratio.high, p))
        pairs.setdefault(entry.key, {})[base.key] = Pair(*back, verdict(back.low, back.high, p))
    return pairs


def _in_same_rounds(entry: Entry, base: Entry, metric: str) -> bool:
    if entry.run is not base.run or not (metric in entry.measured and metric in base.measured):
        return False
    return len(entry.measured[metric].merged) == len(base.measured[metric].merged)


def top1_pairs(group: Group, baselines: Sequence[Entry]) -> Pairs:
    """Points of top-1 above each baseline on the same test images; p adjusted for all pairs of the group (Holm)."""
    keys = [(base, entry) for base, entry in _each_once(group, baselines) if _on_same_images(entry, base)]
    compared = [top1_difference(entry.right, base.right) for base, entry in keys]
    adjusted = holm([p for _, p in compared])
    pairs: Pairs = {}
    for (base, entry), (points, _), p in zip(keys, compared, adjusted, strict=True):
        pairs.setdefault(base.key, {})[entry.key] = _judged(points, p)
        pairs.setdefault(entry.key, {})[base.key] = _judged(Estimate(-points.value, -points.high, -points.low), p)
    return pairs


def _each_once(group: Group, baselines: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Every pair of a baseline and a row, in one direction."""
    seen: set[str] = set()
    for base in baselines:
        seen.add(base.key)
        yield from ((base, entry) for entry in group.entries if entry.key not in seen)


def _on_same_images(entry: Entry, base: Entry) -> bool:
    return base.right.size > 0 and entry.right.shape[-1] == base.right.shape[-1]


def _judged(points: Estimate, p: float) -> Pair:
    side: Judgement = "better" if points.value > 0 else "worse"
    return Pair(*points, side if p < SIGNIFICANT else "undecided")


def noise_floor(entries: Sequence[Entry]) -> dict[str, tuple[str, Pair]]:
    """The reference of each run measured against itself in training: run -> (its model, what was found)."""
    floors = {}
    for entry in entries:
        comparison = entry.run.comparison
        if comparison is None or comparison.reference != entry.model:
            continue
        twin = next((m for m in comparison.same_model_twice if m.metric == SPEEDS[0]), None)
        own = entry.measured.get(SPEEDS[0])
        if twin and own and len(twin.merged) == len(own.merged):
            ratio = Estimate(*speed_ratio(twin, own))
            floors[entry.run.name] = (entry.model, Pair(*ratio, verdict(ratio.low, ratio.high)))
    return floors


def is_finite(pair: Pair) -> bool:
    """Whether both ends of the interval are known."""
    return bool(np.isfinite([pair.low, pair.high]).all())
