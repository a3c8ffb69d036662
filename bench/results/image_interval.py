"""Intervals and paired tests of figures that are means over images. numpy and scipy, no torch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.interval import (
    CONFIDENCE,
    Estimate,
    normal_quantile,
    pooled_freedom,
    student_p,
    student_quantile,
)
from bench.results.record import Accuracy

# scipy.stats.binomtest has Wilson's interval and McNemar's p too, but importing it takes 0.4 s,
# more than all that a report imports.
MIN_DIFFERING = 20  # images on which only one model is right: with fewer, a bootstrap is too narrow


def wilson_interval(
    num_right: int, num_images: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval of an accuracy in percent, from the counts of one evaluation.

    Wilson 1927: the shares from which the one that was seen lies within the normal interval.
    """
    return _wilson(num_right / num_images, num_images, normal_quantile(confidence))


def _wilson(share: float, n: int, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))


def top1_estimate(seeds: Sequence[Accuracy], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean top-1 over seeds in percent, with its interval.

    The interval is for the draw of the images and, from two seeds on, of the seeds. Wilson's half
    widths at the mean, and Student's over the seeds, added in quadrature.
    """
    return share_estimate([seed.num_top1 for seed in seeds], seeds[0].num_images, confidence)


def share_estimate(
    num_right: Sequence[int], num_images: int, confidence: float = CONFIDENCE
) -> Estimate:
    """Return what `top1_estimate` does, from the right answers of each seed on the same images."""
    values = 100 * np.array(num_right) / num_images
    mean = float(values.mean())
    low, high = _wilson(mean / 100, num_images, normal_quantile(confidence))
    spread = 0.0
    num_seeds = len(values)
    if num_seeds > 1:
        quantile = student_quantile(confidence, num_seeds - 1)
        spread = quantile * float(values.std(ddof=1)) / math.sqrt(num_seeds)
    lowest = max(0.0, mean - math.hypot(mean - low, spread))
    highest = min(100.0, mean + math.hypot(high - mean, spread))
    return Estimate(mean, lowest, highest)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p that two models err alike (McNemar 1947).

    From the numbers of images that only one of them got right.
    """
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_bootstrap(
    only_a: int, only_b: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval, in points, of the difference of two models on n images.

    The images are drawn again with what both models said of them. In closed form: a resample's
    difference is a sum of n draws of +1, -1 and 0, so its distribution is a power of one draw's,
    and the limits are those of infinitely many resamples.
    """
    turns = np.exp(-2j * np.pi * np.arange(2 * n + 1) / (2 * n + 1))
    spectrum = (only_a * turns + only_b * turns.conj() + (n - only_a - only_b)) / n
    chances = np.roll(np.fft.ifft(spectrum**n).real, n)  # of a difference of -n to n images
    below = np.cumsum(chances)
    tail = (1 - confidence) / 2
    low, high = (int(np.searchsorted(below, share)) - n for share in (tail, 1 - tail))
    return 100 * low / n, 100 * high / n


def top1_difference(
    a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> tuple[Estimate, float]:
    """Return the points of top-1 that `a` (seeds, n) is above `b` (seeds, n), and its p.

    The p is that of no difference, both on the same n images. One seed each: McNemar's exact p, and
    a paired bootstrap's interval (of Agresti and Min, 2005, where few images differ). Else both
    hold the variance over the images and, as in Welch's test, over the seeds; a model with one seed
    is taken to have no spread of its own.
    """
    if len(a) == len(b) == 1:
        return _one_seed_difference(a, b, confidence)
    estimate, p = mean_difference(a, b, confidence)
    value, low, high = (100 * share for share in estimate)
    return Estimate(value, low, high), p


def mean_estimate(a: NDArray[Any], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of `a` (seeds, n), numbers of n images, with its interval.

    The interval is for the draw of the images and, from two seeds on, of the seeds.
    """
    return _student(a.mean(axis=0), (a,), confidence)[0]


def mean_difference(
    a: NDArray[Any], b: NDArray[Any], confidence: float = CONFIDENCE
) -> tuple[Estimate, float]:
    """Return how far the mean of `a` (seeds, n) is above that of `b` (seeds, n), and its p.

    The p is that of no difference, both of the same n images. Interval and p hold the variance over
    the images and, as in Welch's test, over the seeds; a model with one seed is taken to have no
    spread of its own.
    """
    return _student(a.mean(axis=0) - b.mean(axis=0), (a, b), confidence)


def independent_difference(a: Estimate, b: Estimate) -> Estimate:
    """Return how far `a` is above `b`, which is of other images (Newcombe 1998, method 10)."""
    value = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, value - below, value + above)


def _student(
    each: NDArray[np.float64], models: Sequence[NDArray[Any]], confidence: float
) -> tuple[Estimate, float]:
    """Return the mean of `each` (n,) with its interval, and the p that it is 0.

    `models` are the numbers (seeds, n) from whose means over the seeds it is made.
    """
    n = len(each)
    # Variances of the mean, each with its degrees of freedom.
    parts = [(float(each.var(ddof=1)) / n, n - 1)]
    for seeds in models:
        if len(seeds) > 1:
            between = float(seeds.mean(axis=1).var(ddof=1))
            parts.append((between / len(seeds), len(seeds) - 1))
    variance = sum(part for part, _ in parts)
    freedom = float(pooled_freedom(parts)) if variance else 1.0
    mean = float(each.mean())
    error = math.sqrt(variance)
    half = error * student_quantile(confidence, freedom)
    return Estimate(mean, mean - half, mean + half), student_p(mean, error, freedom)


def _one_seed_difference(
    a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float
) -> tuple[Estimate, float]:
    n = a.shape[1]
    only_a = int((a & ~b).sum())
    only_b = int((b & ~a).sum())
    p = mcnemar(only_a, only_b)
    if only_a + only_b >= MIN_DIFFERING:
        low, high = paired_bootstrap(only_a, only_b, n, confidence)
        return Estimate(100 * (only_a - only_b) / n, low, high), p
    # Agresti and Min 2005: as if each of the four outcomes had been seen half a time more.
    total = n + 2
    adjusted = (only_a - only_b) / total
    error = math.sqrt(((only_a + only_b + 1) / total - adjusted**2) / total)
    half = error * normal_quantile(confidence)
    points = 100 * ((only_a - only_b) / n)
    return Estimate(points, 100 * (adjusted - half), 100 * (adjusted + half)), p
