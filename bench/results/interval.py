"""Intervals of medians from rounds that are not independent. numpy and scipy, no torch."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.record import Accuracy

CONFIDENCE = 0.95
# With fewer, no interval between two of the values holds the median in 95 % of all cases: the
# widest, from the least to the largest, misses it in 2 / 2^n.
MIN_VALUES = 6
ROWS_AT_ONCE = 512  # bounds the memory of median_intervals, not its result


class Estimate(NamedTuple):
    """A value with its interval; the interval is infinite where the values are too few for one."""

    value: float
    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """Return how many standard errors a normal interval reaches to either side."""
    return float(special.ndtri((1 + confidence) / 2))


def student_quantile(confidence: float, freedom: float) -> float:
    """Return how many standard errors Student's interval reaches to either side."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def median_intervals(
    series: NDArray[np.float64], confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Return intervals (m, 2) of the medians of `series` (m, n).

    By the circular block bootstrap, in closed form.

    Rounds in a row are not independent, so blocks of about n^(1/3) neighbours are drawn (Politis
    and Romano 1992). How many drawn values lie under x is a sum of independent draws, one a block:
    its distribution is a power of the distribution over one block, so nothing is simulated, and the
    limits are those of infinitely many resamples. The limits are as far out as Student's are beyond
    the normal ones at 1.5 degrees of freedom a block, those of a variance from overlapping blocks
    (Meketon and Schmeiser 1984): without, 14 values cover 90 % instead of 95 %. Fewer than
    MIN_VALUES values give infinite intervals.
    """
    series = np.atleast_2d(np.asarray(series, dtype=np.float64))
    if series.shape[1] < MIN_VALUES:
        return np.tile([-np.inf, np.inf], (len(series), 1))
    # As far out in the resamples as Student's limits are: the normal share beyond them.
    limit = special.stdtrit(_freedom(series.shape[1]), (1 - confidence) / 2)
    tail = float(special.ndtr(limit))
    half = series.shape[1] // 2
    intervals = [np.empty((0, 2))]
    for start in range(0, len(series), ROWS_AT_ONCE):
        part = series[start : start + ROWS_AT_ONCE]
        # The median is at or under x where at least half of the drawn values are.
        low = _bootstrap_quantile(part, tail, series.shape[1] - half)
        high = _bootstrap_quantile(part, 1 - tail, half + 1)
        intervals.append(np.stack([low, high], axis=1))
    return np.concatenate(intervals)


def median_p_values(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p (m,) that the medians of `series` (m, n) are 0.

    It is below 1 - confidence where the interval of `median_intervals` excludes 0. Never under 2 /
    2^n, the least that n signs can prove (the sign test); 1 for fewer than MIN_VALUES values.
    """
    series = np.atleast_2d(np.asarray(series, dtype=np.float64))
    n = series.shape[1]
    if n < MIN_VALUES:
        return np.ones(len(series))
    zero = np.zeros(len(series))
    below = _share_of_resamples(series, zero, n - n // 2)
    above = 1 - _share_of_resamples(series, np.nextafter(zero, -1), n // 2 + 1)
    drawn = np.clip(np.minimum(below, above), 0, 0.5)
    widened = special.stdtr(_freedom(n), special.ndtri(drawn))
    return np.clip(2 * widened, 2.0 ** (1 - n), 1.0)


def over_launches(medians: Sequence[float], halves: Sequence[float]) -> tuple[Estimate, float]:
    """Return the mean of launches' medians with its interval, and the two-sided p that it is 0.

    Student's over the launches, since what differs between processes (where memory lies) is in no
    launch's own interval; never narrower than their own half widths together. A bootstrap over so
    few is too narrow: LAB.md.
    """
    n = len(medians)
    centre = float(np.mean(medians))
    quantile = student_quantile(CONFIDENCE, n - 1)
    between = quantile * float(np.std(medians, ddof=1)) / math.sqrt(n)
    within = 0.0
    if all(math.isfinite(half) for half in halves):
        within = math.sqrt(sum(half * half for half in halves)) / n
    half = max(between, within)
    p = _student_p(centre, half / quantile, n - 1)
    return Estimate(centre, centre - half, centre + half), p


def _student_p(difference: float, error: float, freedom: float) -> float:
    """Return Student's two-sided p that a difference with this standard error is 0."""
    if not error:
        return float(difference == 0)
    return 2 * float(special.stdtr(freedom, -abs(difference) / error))


def rounds_needed(num_pairs: int, significance: float = 1 - CONFIDENCE) -> int:
    """Return the fewest rounds whose signs, all alike, prove a difference in one of many pairs.

    That is Holm's first step: the smallest p, 2 / 2^n, against the significance over all pairs.
    """
    return max(MIN_VALUES, 1 + math.ceil(math.log2(max(1, num_pairs) / significance)))


def _block_length(n: int) -> int:
    return max(1, round(math.cbrt(n)))


def _freedom(n: int) -> float:
    """Return the degrees of freedom of a variance from overlapping blocks of n values."""
    return 1.5 * n / _block_length(n) - 1


def _bootstrap_quantile(
    series: NDArray[np.float64], share: float, num_below: int
) -> NDArray[np.float64]:
    """Return the smallest value (m,) that holds in `share` of all resamples.

    It holds in a resample of which at least `num_below` drawn values don't exceed it. Found by
    bisection among the values themselves, for all rows at once.
    """
    ordered = np.sort(series, axis=1)
    rows = np.arange(len(series))
    low = np.zeros(len(series), dtype=np.int64)
    high = np.full(len(series), series.shape[1] - 1)
    while (low < high).any():
        middle = (low + high) // 2
        enough = _share_of_resamples(series, ordered[rows, middle], num_below) >= share
        low = np.where(enough, low, np.minimum(middle + 1, high))
        high = np.where(enough, middle, high)
    return np.asarray(ordered[rows, high])


def _share_of_resamples(
    series: NDArray[np.float64], at: NDArray[np.float64], num_below: int
) -> NDArray[np.float64]:
    """Return the share (m,) of all block resamples with at least `num_below` values <= `at` (m,).

    How many of a block's values are is a distribution over the n places where it may begin; of the
    sum over independent blocks it is their convolution, which is a product of spectra.
    """
    n = series.shape[1]
    length = _block_length(n)
    num_blocks = -(-n // length)
    rest = n - (num_blocks - 1) * length  # the last block is cut, so that a resample has n values
    below = series <= at[:, None]
    # Circular: a block that begins near the end goes on at the beginning.
    around = np.concatenate([np.zeros((len(series), 1)), below, below[:, :length]], axis=1)
    running = np.cumsum(around, axis=1)
    # Above n, so that the sums don't wrap around; a power of two is fast.
    room = 1 << n.bit_length()

    def block_spectrum(size: int) -> NDArray[np.complex128]:
        counts = running[:, size : size + n] - running[:, :n]
        chances = [(counts == count).mean(axis=1) for count in range(size + 1)]
        return np.fft.rfft(np.stack(chances, axis=1), n=room, axis=1)

    spectrum = block_spectrum(length) ** (num_blocks - 1) * block_spectrum(rest)
    chances = np.fft.irfft(spectrum, n=room, axis=1)
    return np.asarray(chances[:, num_below:].sum(axis=1))


def median_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval of the median of raw values (n,), see `median_intervals`."""
    low, high = median_intervals(values, confidence)[0]
    return float(low), float(high)


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
    values = np.array([seed.top1 for seed in seeds])
    mean = float(values.mean())
    low, high = _wilson(mean / 100, seeds[0].num_images, normal_quantile(confidence))
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, i in enumerate(order):
        num_left = len(p_values) - position
        # Never below an earlier one: an adjusted p must not turn the order round.
        largest = max(largest, min(1.0, num_left * p_values[i]))
        adjusted[i] = largest
    return adjusted


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
    n = a.shape[1]
    each = a.mean(axis=0) - b.mean(axis=0)
    # Variances of the mean, each with its degrees of freedom.
    parts = [(float(each.var(ddof=1)) / n, n - 1)]
    for seeds in (a, b):
        if len(seeds) > 1:
            between = float(seeds.mean(axis=1).var(ddof=1))
            parts.append((between / len(seeds), len(seeds) - 1))
    variance = sum(part for part, _ in parts)
    freedom = float(pooled_freedom(parts)) if variance else 1.0
    difference = 100 * float(each.mean())
    error = 100 * math.sqrt(variance)
    half = error * student_quantile(confidence, freedom)
    estimate = Estimate(difference, difference - half, difference + half)
    return estimate, _student_p(difference, error, freedom)


def pooled_freedom(parts: Sequence[tuple[Any, float]]) -> Any:
    """Return the degrees of freedom of a sum of variances that are not all 0.

    `parts` are the variances, numbers or arrays, each with its own degrees of freedom (Welch 1947,
    Satterthwaite 1946).
    """
    variance = sum(part for part, _ in parts)
    return variance**2 / sum(part * part / own for part, own in parts)


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
