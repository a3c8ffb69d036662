"""What counts of right answers prove: intervals of an accuracy, tests of a difference. numpy and scipy, no torch."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.interval import CONFIDENCE, Estimate, normal_quantile, student_quantile
from bench.results.record import Accuracy

MIN_DIFFERING = 20  # images on which only one model is right: with fewer, a bootstrap is too narrow
MOST_SEEDS = 1_000


def wilson_interval(num_right: int, num_images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of an accuracy in percent (Wilson 1927), from the counts of one evaluation."""
    return _wilson(num_right / num_images, num_images, normal_quantile(confidence))


def _wilson(share: float, n: int, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))


def top1_estimate(seeds: Sequence[Accuracy], confidence: float = CONFIDENCE) -> Estimate:
    """Mean top-1 over seeds in percent, with an interval for the draw of the images and, from two on, of the seeds.

    Wilson's half widths at the mean, and Student's over the seeds, added in quadrature.
    """
    values = np.array([seed.top1 for seed in seeds])
    mean = float(values.mean())
    low, high = _wilson(mean / 100, seeds[0].num_images, normal_quantile(confidence))
    spread = 0.0
    if len(values) > 1:
        spread = student_quantile(confidence, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(
        mean, max(0.0, mean - math.hypot(mean - low, spread)), min(100.0, mean + math.hypot(high - mean, spread))
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that two models err alike, from the images that only one of them got right (McNemar 1947)."""
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for position, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def paired_bootstrap(only_a: int, only_b: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval in points of the difference of two models on n images, which are drawn again with what both said.

    In closed form: a resample's difference is a sum of n draws of +1, -1 and 0, so its distribution is a power of one
    draw's, and the limits are those of infinitely many resamples.
    """
    turns = np.exp(-2j * np.pi * np.arange(2 * n + 1) / (2 * n + 1))
    spectrum = (only_a * turns + only_b * turns.conj() + (n - only_a - only_b)) / n
    chances = np.roll(np.fft.ifft(spectrum**n).real, n)  # of a difference of -n to n images
    below = np.cumsum(chances)
    tail = (1 - confidence) / 2
    low, high = (int(np.searchsorted(below, share)) - n for share in (tail, 1 - tail))
    return 100 * low / n, 100 * high / n


def seeds_needed(a: Sequence[float], b: Sequence[float], power: float = 0.8) -> int | None:
    """How many seeds of each model would tell them apart in four of five cases, from the top-1 of those there are.

    Student's two-sided test at 5 % of the difference that was seen, with the spread that was seen (the shift of its
    power is taken as Student's too). None with one seed of either, or without a difference.
    """
    difference = abs(float(np.mean(a)) - float(np.mean(b)))
    if min(len(a), len(b)) < 2 or not difference:
        return None
    variance = (float(np.var(a, ddof=1)) + float(np.var(b, ddof=1))) / 2
    for seeds in range(2, MOST_SEEDS):
        freedom = 2 * seeds - 2
        reach = student_quantile(CONFIDENCE, freedom) + float(special.stdtrit(freedom, power))
        if seeds * difference**2 >= 2 * variance * reach**2:
            return seeds
    return MOST_SEEDS


def top1_difference(
    a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> tuple[Estimate, float]:
    """Points of top-1 that `a` (seeds, n) is above `b` (seeds, n) on the same n images, and the p of no difference.

    One seed each: McNemar's exact p, and a paired bootstrap's interval (of Agresti and Min, 2005, where few images
    differ). Else both hold the variance over the
    images and, as in Welch's test, over the seeds; a model with one seed is taken to have no spread of its own.
    """
    n = a.shape[1]
    if len(a) == len(b) == 1:
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        if only_a + only_b >= MIN_DIFFERING:
            low, high = paired_bootstrap(only_a, only_b, n, confidence)
            return Estimate(100 * (only_a - only_b) / n, low, high), mcnemar(only_a, only_b)
        share, total = (only_a - only_b) / n, n + 2
        adjusted = (only_a - only_b) / total
        half = math.sqrt(((only_a + only_b + 1) / total - adjusted**2) / total) * normal_quantile(confidence)
        return Estimate(100 * share, 100 * (adjusted - half), 100 * (adjusted + half)), mcnemar(only_a, only_b)
    each = a.mean(axis=0) - b.mean(axis=0)
    parts = [(float(each.var(ddof=1)) / n, n - 1)]
    parts += [(float(s.mean(axis=1).var(ddof=1)) / len(s), len(s) - 1) for s in (a, b) if len(s) > 1]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v * v / d for v, d in parts) if variance else 1.0
    difference, error = 100 * float(each.mean()), 100 * math.sqrt(variance)
    half = error * student_quantile(confidence, freedom)
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error)) if error else float(difference == 0)
    return Estimate(difference, difference - half, difference + half), p
