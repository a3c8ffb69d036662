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


def variance_over_images(
    each: NDArray[np.floating], folds: NDArray[np.int64] | None
) -> tuple[float, float]:
    """Return the variance of the mean of `each` (n,), and its degrees of freedom.

    `folds` (n,) number those that images were tested in, by models that were trained on the others.
    What two folds say isn't independent, since most of their training images are the same: the
    variance between K folds is taken 1 / K + 1 / (K - 1) times, not 1 / K times (Nadeau and Bengio
    2003, "Inference for the Generalization Error", section 4). Where as many independent images
    would leave more doubt than that, theirs is the variance: a few folds may agree by chance.
    """
    n = len(each)
    of_images = float(each.var(ddof=1)) / n
    if folds is None:
        return of_images, n - 1
    means = fold_means(each, folds)
    k = len(means)
    of_folds = overlap_factor(k) * float(means.var(ddof=1))
    images_reach = math.sqrt(of_images) * student_quantile(CONFIDENCE, n - 1)
    folds_reach = math.sqrt(of_folds) * student_quantile(CONFIDENCE, k - 1)
    return (of_images, n - 1) if images_reach > folds_reach else (of_folds, k - 1)


def fold_means(each: NDArray[np.floating], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over each fold's images of `each` (..., n), (..., folds)."""
    numbers = np.unique(folds)
    return np.stack([each[..., folds == number].mean(axis=-1) for number in numbers], axis=-1)


def overlap_factor(num_folds: int) -> float:
    """Return how many times the variance between folds is that of their mean."""
    return 1 / num_folds + 1 / (num_folds - 1)


def top1_estimate(
    seeds: Sequence[Accuracy],
    confidence: float = CONFIDENCE,
    *,
    of_folds: Sequence[float] = (),
) -> Estimate:
    """Return the mean top-1 over seeds in percent, with its interval.

    The interval is for the draw of the images and, from two seeds on, of the seeds. Wilson's half
    widths at the mean, and Student's over the seeds, added in quadrature. `of_folds` are the folds'
    percents, where there are any: the half widths are then at least those of `overlap_factor`.
    """
    values = np.array([seed.top1 for seed in seeds])
    return _estimate_top1(values, seeds[0].num_images, of_folds, confidence)


def share_estimate(
    num_right: Sequence[int], num_images: int, confidence: float = CONFIDENCE
) -> Estimate:
    """Return what `top1_estimate` does, from the right answers of each seed on the same images."""
    return _estimate_top1(100 * np.array(num_right) / num_images, num_images, (), confidence)


def correct_estimate(
    correct: NDArray[np.bool_],
    folds: NDArray[np.int64] | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return the percent that is right of `correct` (seeds, n), as `top1_estimate` does."""
    of_folds = [] if folds is None else (100 * fold_means(correct.mean(axis=0), folds)).tolist()
    return _estimate_top1(100 * correct.mean(axis=1), correct.shape[1], of_folds, confidence)


def _estimate_top1(
    values: NDArray[np.float64], num_images: int, of_folds: Sequence[float], confidence: float
) -> Estimate:
    mean = float(values.mean())
    low, high = _wilson(mean / 100, num_images, normal_quantile(confidence))
    spread = 0.0
    num_seeds = len(values)
    if num_seeds > 1:
        quantile = student_quantile(confidence, num_seeds - 1)
        spread = quantile * float(values.std(ddof=1)) / math.sqrt(num_seeds)
    least = 0.0
    if of_folds:
        k = len(of_folds)
        error = math.sqrt(overlap_factor(k)) * float(np.std(of_folds, ddof=1))
        least = student_quantile(confidence, k - 1) * error
    lowest = max(0.0, mean - math.hypot(max(mean - low, least), spread))
    highest = min(100.0, mean + math.hypot(max(high - mean, least), spread))
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
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    confidence: float = CONFIDENCE,
    folds: NDArray[np.int64] | None = None,
) -> tuple[Estimate, float]:
    """Return the points of top-1 that `a` (seeds, n) is above `b` (seeds, n), and its p.

    The p is that of no difference, both on the same n images. One seed each: McNemar's exact p, and
    a paired bootstrap's interval (of Agresti and Min, 2005, where few images differ). Else both
    hold the variance over the images and, as in Welch's test, over the seeds; a model with one seed
    is taken to have no spread of its own. With `folds` the variance is `variance_over_images`, for
    one seed too: McNemar's test says nothing of models that were trained on other images.
    """
    if len(a) == len(b) == 1 and folds is None:
        return _one_seed_difference(a, b, confidence)
    estimate, p = mean_difference(a, b, confidence, folds)
    value, low, high = (100 * share for share in estimate)
    return Estimate(value, low, high), p


def mean_estimate(
    a: NDArray[Any],
    confidence: float = CONFIDENCE,
    folds: NDArray[np.int64] | None = None,
) -> Estimate:
    """Return the mean of `a` (seeds, n), numbers of n images, with its interval.

    The interval is for the draw of the images (`variance_over_images`) and, from two seeds on, of
    the seeds.
    """
    return _student(a.mean(axis=0), (a,), confidence, folds)[0]


def mean_difference(
    a: NDArray[Any],
    b: NDArray[Any],
    confidence: float = CONFIDENCE,
    folds: NDArray[np.int64] | None = None,
) -> tuple[Estimate, float]:
    """Return how far the mean of `a` (seeds, n) is above that of `b` (seeds, n), and its p.

    The p is that of no difference, both of the same n images. Interval and p hold the variance over
    the images (`variance_over_images`) and, as in Welch's test, over the seeds; a model with one
    seed is taken to have no spread of its own.
    """
    return _student(a.mean(axis=0) - b.mean(axis=0), (a, b), confidence, folds)


def independent_difference(a: Estimate, b: Estimate) -> Estimate:
    """Return how far `a` is above `b`, which is of other images (Newcombe 1998, method 10)."""
    value = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, value - below, value + above)


def _student(
    each: NDArray[np.float64],
    models: Sequence[NDArray[Any]],
    confidence: float,
    folds: NDArray[np.int64] | None,
) -> tuple[Estimate, float]:
    """Return the mean of `each` (n,) with its interval, and the p that it is 0.

    `models` are the numbers (seeds, n) from whose means over the seeds it is made.
    """
    # Variances of the mean, each with its degrees of freedom.
    parts = [variance_over_images(each, folds)]
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
