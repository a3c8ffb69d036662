"""Verdicts over raw values: same, faster, slower or undecided. numpy and scipy, no torch.

The statistics behind them are in interval.py (rounds) and image_interval.py (right answers);
readers of records find them all here.
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
# Cores that others may take while a round is measured, or a model is trained, without being noted.
DISTURBANCE = 0.1
UNLIMITED = (0.0, math.inf)
NOISE_THRESHOLD = 0.02  # ratios within 2 % of 1 are of no consequence to anyone who picks a model


def rate_interval(measurement: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a measurement's `value`, in its unit."""
    return rate_intervals([measurement], confidence)[0]


def rate_intervals(
    measurements: Sequence[Measurement], confidence: float = CONFIDENCE
) -> list[tuple[float, float]]:
    """Return `rate_interval` of each of many, worked out together where they are as long.

    Infinite where others disturbed the rounds: what they took is no property of the model.
    """
    series = [np.asarray(measurement.merged) for measurement in measurements]
    found: list[tuple[float, float]] = [(-math.inf, math.inf)] * len(series)
    for length in {len(values) for values in series}:
        places = [i for i, values in enumerate(series) if len(values) == length]
        limits = median_intervals(np.stack([series[i] for i in places]), confidence)
        for i, (low, high) in zip(places, limits.tolist(), strict=True):
            if not measurements[i].disturbed:
                found[i] = _as_rate(measurements[i].images, low, high)
    return found


def _as_rate(images: int | None, low: float, high: float) -> tuple[float, float]:
    """Turn an interval of seconds into one of images a second, where `images` took them."""
    if images is None:
        return low, high
    return images / high, (images / low if low > 0 else math.inf)


def speed_ratio(
    a: Measurement, b: Measurement, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Return how many times as fast `a` is as `b`, round by round: (median ratio, low, high).

    Both must come from one pass of a Comparison, so that their values pair by index; ValueError
    otherwise.
    """
    return speed_ratios([(a, b)], confidence)[0]


def speed_ratios(
    pairs: Sequence[tuple[Measurement, Measurement]], confidence: float = CONFIDENCE
) -> list[Estimate]:
    """Return `speed_ratio` of each of many pairs, all with as many rounds.

    Without limits where others disturbed the rounds.
    """
    if not pairs:
        return []
    logs = np.stack([log_ratios(a, b) for a, b in pairs])
    limits = np.exp(median_intervals(logs, confidence)).tolist()
    limits = [
        UNLIMITED if is_disturbed(pair) else limit
        for pair, limit in zip(pairs, limits, strict=True)
    ]
    medians = [math.exp(np.median(log)) for log in logs]
    return [
        Estimate(median, low, high) for median, (low, high) in zip(medians, limits, strict=True)
    ]


def is_disturbed(pair: tuple[Measurement, Measurement]) -> bool:
    """Return whether others disturbed the rounds of a pair: no winner is claimed of it."""
    return any(row.disturbed for row in pair)


def log_ratios(a: Measurement, b: Measurement) -> NDArray[np.float64]:
    """Return the logarithms (n,) of how many times as fast `a` is as `b`, round by round.

    ValueError if the rounds don't pair.
    """
    ours, theirs = np.asarray(a.merged), np.asarray(b.merged)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values of {a.metric} can't be paired with {len(theirs)}")
    return np.asarray(np.log(theirs / ours * ((a.images or 1) / (b.images or 1))))


def launched_ratio(launches: Sequence[tuple[Measurement, Measurement]]) -> tuple[Estimate, float]:
    """Return how many times as fast the first is as the second over several launches, and its p.

    `launches` has a pair of each launch.
    """
    medians, halves = [], []
    for a, b in launches:
        logs = log_ratios(a, b)
        low, high = median_interval(logs)
        medians.append(float(np.median(logs)))
        halves.append((high - low) / 2)
    estimate, p = over_launches(medians, halves)
    if any(map(is_disturbed, launches)):
        return Estimate(_exp(estimate).value, *UNLIMITED), 1.0
    return _exp(estimate), p


def _exp(logs: Estimate) -> Estimate:
    """Return an estimate whose logarithms these are; e^700 is about as much as a float holds."""
    value, low, high = (math.exp(min(log, 700.0)) for log in logs)
    return Estimate(value, low, high)


def chained_ratio(first: Estimate, second: Estimate) -> tuple[Estimate, float]:
    """Return how many times as fast A is as C, and its p.

    From A against B in one group and B against C in another: logarithms add, and the squares of
    their errors, which are independent.
    """
    if not all(math.isfinite(x) and x > 0 for x in (*first, *second)):
        return Estimate(first.value * second.value, 0.0, math.inf), 1.0
    centre = math.log(first.value * second.value)
    halves = [math.log(part.high / part.low) / 2 for part in (first, second)]
    half = math.hypot(*halves)
    p = float(centre == 0)
    if half:
        error = half / normal_quantile(CONFIDENCE)
        p = 2 * float(special.ndtr(-abs(centre) / error))
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half)), p


def launched_rate(launches: Sequence[Measurement]) -> Estimate:
    """Return a rate (or a time) over several launches with its interval, in its unit.

    All of one metric.
    """
    logs, halves = [], []
    for row in launches:
        low, high = rate_interval(row)
        logs.append(math.log(row.value))
        is_known = low > 0 and math.isfinite(high)
        halves.append(math.log(high / low) / 2 if is_known else math.inf)
    estimate, _ = over_launches(logs, halves)
    return _exp(estimate)


def speed_p_values(pairs: Sequence[tuple[Measurement, Measurement]]) -> list[float]:
    """Return the two-sided p that both of a pair are as fast, for each of many pairs.

    All have as many rounds.
    """
    if not pairs:
        return []
    logs = np.stack([log_ratios(a, b) for a, b in pairs])
    p_values = median_p_values(logs).tolist()
    return [1.0 if is_disturbed(pair) else p for pair, p in zip(pairs, p_values, strict=True)]


def verdict(low: float, high: float, p: float = 0.0) -> Verdict:
    """Read an interval of a speed ratio.

    *same* inside the noise threshold, else its side of 1, else *undecided*. `p` is the pair's own,
    adjusted for the number of pairs that are judged together (`holm`): no side is taken where it
    isn't significant.
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
    """Tell which points are on the front, where more is better in both.

    No other point equals or exceeds one of these in both and exceeds it in one: of equal points
    all or none are on it.
    """
    on_front: dict[tuple[float, float], bool] = {}
    highest = -math.inf
    # From the largest first coordinate on, a point is on the front that is higher than all before.
    for first, second in sorted(set(points), reverse=True):
        on_front[first, second] = second > highest
        highest = max(highest, second)
    return [on_front[first, second] for first, second in points]


def false_claims(twin: Measurement, own: Measurement) -> tuple[int, int]:
    """Return how often a model measured against itself would have won or lost: (claims, windows).

    A window is a third of the rounds, in a row, and each start of one counts; (0, 0) under 3
    MIN_VALUES rounds, and where others disturbed them.
    """
    logs = log_ratios(twin, own)
    if len(logs) < 3 * MIN_VALUES or is_disturbed((twin, own)):
        return 0, 0
    windows = np.lib.stride_tricks.sliding_window_view(logs, len(logs) // 3)
    verdicts = [verdict(low, high) for low, high in np.exp(median_intervals(windows)).tolist()]
    return sum(found in ("faster", "slower") for found in verdicts), len(verdicts)


def is_timed(row: Measurement) -> bool:
    """Tell whether a measurement is of time, which has noise, and not of bytes."""
    return row.unit != BYTES.unit


def noise_floor(twin: Measurement, own: Measurement) -> NoiseFloor:
    """Return what measuring one model twice says of the harness."""
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
