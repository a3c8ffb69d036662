"""Verdicts over raw values: same, faster, slower or undecided. numpy and scipy, no torch.

The statistics behind them are in interval.py (rounds) and proportion.py (right answers); readers of
records find them all here.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.interval import (
    CONFIDENCE,
    MIN_VALUES,
    Estimate,
    median_interval,
    median_intervals,
    median_p_values,
    normal_quantile,
    over_launches,
)
from bench.results.metric import BYTES
from bench.results.record import Measurement, NoiseFloor

Verdict = Literal["same", "faster", "slower", "undecided"]
NOISE_THRESHOLD = 0.02  # ratios within 2 % of 1 are of no consequence to anyone who picks a model


def rate_interval(measurement: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a measurement's `value`, in its unit."""
    return rate_intervals([measurement], confidence)[0]


def rate_intervals(
    measurements: Sequence[Measurement], confidence: float = CONFIDENCE
) -> list[tuple[float, float]]:
    """`rate_interval` of each of many, worked out together where they have as many values."""
    series = [np.asarray(measurement.merged) for measurement in measurements]
    found: list[tuple[float, float]] = [(-math.inf, math.inf)] * len(series)
    for length in {len(values) for values in series}:
        places = [i for i, values in enumerate(series) if len(values) == length]
        limits = median_intervals(np.stack([series[i] for i in places]), confidence)
        for i, (low, high) in zip(places, limits.tolist(), strict=True):
            found[i] = _as_rate(measurements[i].images, low, high)
    return found


def _as_rate(images: int | None, low: float, high: float) -> tuple[float, float]:
    if images is None:
        return low, high
    return images / high, images / low if low > 0 else math.inf


def speed_ratio(
    a: Measurement, b: Measurement, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """How many times as fast `a` is as `b`, round by round: (median ratio, low, high).

    Both must come from one pass of a Comparison, so that their values pair by index; ValueError
    otherwise.
    """
    return speed_ratios([(a, b)], confidence)[0]


def speed_ratios(
    pairs: Sequence[tuple[Measurement, Measurement]], confidence: float = CONFIDENCE
) -> list[Estimate]:
    """`speed_ratio` of each of many pairs, all with as many rounds."""
    if not pairs:
        return []
    logs = np.stack([log_ratios(a, b) for a, b in pairs])
    limits = np.exp(median_intervals(logs, confidence)).tolist()
    return [
        Estimate(math.exp(np.median(log)), *span) for log, span in zip(logs, limits, strict=True)
    ]


def log_ratios(a: Measurement, b: Measurement) -> NDArray[np.float64]:
    """The logarithm of how many times as fast `a` is as `b`, round by round.

    ValueError if the rounds don't pair.
    """
    ours, theirs = np.asarray(a.merged), np.asarray(b.merged)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values of {a.metric} can't be paired with {len(theirs)}")
    return np.asarray(np.log(theirs / ours * ((a.images or 1) / (b.images or 1))))


def launched_ratio(launches: Sequence[tuple[Measurement, Measurement]]) -> tuple[Estimate, float]:
    """How many times as fast the first is as the second over several launches, a pair of each.

    (ratio, p).
    """
    logs = [log_ratios(a, b) for a, b in launches]
    spans = [median_interval(log) for log in logs]
    halves = [(high - low) / 2 for low, high in spans]
    found, p = over_launches([float(np.median(log)) for log in logs], halves)
    return Estimate(*(math.exp(min(x, 700.0)) for x in found)), p


def chained_ratio(first: Estimate, second: Estimate) -> tuple[Estimate, float]:
    """How many times as fast A is as C, from A against B in one group and B against C in another.

    (ratio, p).
    """
    if not all(math.isfinite(x) and x > 0 for x in (*first, *second)):
        return Estimate(first.value * second.value, 0.0, math.inf), 1.0
    centre = math.log(first.value * second.value)
    halves = [math.log(part.high / part.low) / 2 for part in (first, second)]
    half = math.hypot(*halves)
    p = (
        2 * float(special.ndtr(-abs(centre) / (half / normal_quantile(CONFIDENCE))))
        if half
        else float(centre == 0)
    )
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half)), p


def launched_rate(launches: Sequence[Measurement]) -> Estimate:
    """A rate (or a time) over several launches with its interval, in its unit.

    All of one metric.
    """
    logs = [math.log(row.value) for row in launches]
    spans = [rate_interval(row) for row in launches]
    halves = [
        math.log(high / low) / 2 if low > 0 and math.isfinite(high) else math.inf
        for low, high in spans
    ]
    return Estimate(*(math.exp(min(x, 700.0)) for x in over_launches(logs, halves)[0]))


def speed_p_values(pairs: Sequence[tuple[Measurement, Measurement]]) -> list[float]:
    """The two-sided p that both of a pair are as fast, for each of many pairs, all with as many rounds."""
    if not pairs:
        return []
    return [float(p) for p in median_p_values(np.stack([log_ratios(a, b) for a, b in pairs]))]


def verdict(low: float, high: float, p: float = 0.0) -> Verdict:
    """Read an interval of a speed ratio: *same* inside the noise threshold, else its side of 1, else *undecided*.

    `p` is the pair's own, adjusted for the number of pairs that are judged together (`holm`): no
    side is taken where it isn't significant.
    """
    if low >= 1 / (1 + NOISE_THRESHOLD) and high <= 1 + NOISE_THRESHOLD:
        return "same"
    if p >= 1 - CONFIDENCE:
        return "undecided"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "undecided"


def rank_with_ties(intervals: list[tuple[float, float]]) -> list[int]:
    """Rank intervals, best (highest) first: 1 + the number of others that lie wholly above.

    Overlaps share no order.
    """
    lows = np.sort([low for low, _ in intervals])
    return [1 + len(lows) - int(np.searchsorted(lows, high, side="right")) for _, high in intervals]


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points (more is better in both) no other point equals or exceeds in both and exceeds in one."""
    front = [False] * len(points)
    best = -math.inf
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1]))
    for position, i in enumerate(order):
        twin = position > 0 and points[order[position - 1]] == points[i]
        front[i] = front[order[position - 1]] if twin else points[i][1] > best
        best = max(best, points[i][1])
    return front


def false_claims(twin: Measurement, own: Measurement) -> tuple[int, int]:
    """How often a model measured against itself would have won or lost: (claims, windows).

    A window is a third of the rounds, in a row, and each start of one counts; (0, 0) under 3
    MIN_VALUES rounds.
    """
    logs = log_ratios(twin, own)
    if len(logs) < 3 * MIN_VALUES:
        return 0, 0
    windows = np.lib.stride_tricks.sliding_window_view(logs, len(logs) // 3)
    verdicts = [verdict(low, high) for low, high in np.exp(median_intervals(windows)).tolist()]
    return sum(found in ("faster", "slower") for found in verdicts), len(verdicts)


def is_timed(row: Measurement) -> bool:
    """Tell whether a measurement is of time, which has noise, and not of bytes."""
    return row.unit != BYTES.unit


def noise_floor(twin: Measurement, own: Measurement) -> NoiseFloor:
    """What measuring one model twice says of the harness."""
    ratio, low, high = speed_ratio(twin, own)
    known = math.isfinite(high)
    claims, windows = false_claims(twin, own)
    return NoiseFloor(
        ratio=ratio,
        low=low if known else None,
        high=high if known else None,
        claims=claims,
        windows=windows,
    )
