"""Intervals of medians from rounds that are not independent. numpy and scipy, no torch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.record import Accuracy

CONFIDENCE = 0.95
MIN_VALUES = 6  # with fewer, no interval between two of the values holds the median in 95 % of all cases (2 / 2^n)
ROWS_AT_ONCE = 512  # bounds the memory of median_intervals, not its result


class Estimate(NamedTuple):
    """A value with its interval; the interval is infinite where the values are too few for one."""

    value: float
    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """How many standard errors a normal interval reaches to either side."""
    return float(special.ndtri((1 + confidence) / 2))


def student_quantile(confidence: float, freedom: float) -> float:
    """How many standard errors Student's interval reaches to either side."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def median_intervals(
    series: NDArray[np.float64], confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Intervals (m, 2) of the medians of `series` (m, n): circular block bootstrap, in closed form.

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
    tail = _normal_tail((1 - confidence) / 2, series.shape[1])
    parts = [series[start : start + ROWS_AT_ONCE] for start in range(0, len(series), ROWS_AT_ONCE)]
    half = series.shape[1] // 2
    sides = [
        [
            _bootstrap_quantile(part, tail, series.shape[1] - half),
            _bootstrap_quantile(part, 1 - tail, half + 1),
        ]
        for part in parts
    ]
    return np.concatenate([np.stack(side, axis=1) for side in sides]) if sides else np.empty((0, 2))


def median_p_values(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p (m,) that the medians of `series` (m, n) are 0: below 1 - confidence where the interval excludes 0.

    Never under 2 / 2^n, the least that n signs can prove (the sign test); 1 for fewer than
    MIN_VALUES values.
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
    """The mean of launches' medians with its interval, and the two-sided p that it is 0.

    Student's over the launches, since what differs between processes (where memory lies) is in no
    launch's own interval; never narrower than their own half widths together. A bootstrap over so
    few is too narrow: LAB.md.
    """
    n, centre = len(medians), float(np.mean(medians))
    known = [half for half in halves if math.isfinite(half)]
    between = student_quantile(CONFIDENCE, n - 1) * float(np.std(medians, ddof=1)) / math.sqrt(n)
    half = max(between, math.sqrt(sum(h * h for h in known)) / n if len(known) == n else 0.0)
    error = half / student_quantile(CONFIDENCE, n - 1)
    p = 2 * float(special.stdtr(n - 1, -abs(centre) / error)) if error else float(centre == 0)
    return Estimate(centre, centre - half, centre + half), p


def rounds_needed(num_pairs: int, significance: float = 1 - CONFIDENCE) -> int:
    """The fewest rounds whose signs, all alike, prove a difference in one of `num_pairs` pairs (Holm's first step)."""
    return max(MIN_VALUES, 1 + math.ceil(math.log2(max(1, num_pairs) / significance)))


def _block_length(n: int) -> int:
    return max(1, round(math.cbrt(n)))


def _freedom(n: int) -> float:
    """Degrees of freedom of a variance from overlapping blocks of n values."""
    return 1.5 * n / _block_length(n) - 1


def _normal_tail(tail: float, n: int) -> float:
    """The share of resamples beyond a limit that leaves out `tail` of Student's distribution."""
    return float(special.ndtr(special.stdtrit(_freedom(n), tail)))


def _bootstrap_quantile(
    series: NDArray[np.float64], share: float, num_below: int
) -> NDArray[np.float64]:
    """The smallest value (m,) that at least `num_below` drawn values don't exceed in `share` of all resamples."""
    ordered = np.sort(series, axis=1)
    rows = np.arange(len(series))
    low, high = np.zeros(len(series), dtype=np.int64), np.full(len(series), series.shape[1] - 1)
    while (low < high).any():
        middle = (low + high) // 2
        enough = _share_of_resamples(series, ordered[rows, middle], num_below) >= share
        low, high = (
            np.where(enough, low, np.minimum(middle + 1, high)),
            np.where(enough, middle, high),
        )
    return np.asarray(ordered[rows, high])


def _share_of_resamples(
    series: NDArray[np.float64], at: NDArray[np.float64], num_below: int
) -> NDArray[np.float64]:
    """In which share (m,) of all block resamples at least `num_below` of the n drawn values are <= `at` (m,)."""
    n = series.shape[1]
    length = _block_length(n)
    num_blocks = -(-n // length)
    rest = n - (num_blocks - 1) * length  # the last block is cut, so that a resample has n values
    below = series <= at[:, None]
    running = np.cumsum(
        np.concatenate([np.zeros((len(series), 1)), below, below[:, :length]], axis=1), axis=1
    )
    room = (
        1 << n.bit_length()
    )  # above n, so that the sums don't wrap around; a power of two is fast
    spectra = [
        np.fft.rfft(
            np.stack([(counts == c).mean(axis=1) for c in range(size + 1)], axis=1), n=room, axis=1
        )
        for size in (length, rest)
        for counts in [running[:, size : size + n] - running[:, :n]]
    ]
    counts = np.fft.irfft(spectra[0] ** (num_blocks - 1) * spectra[1], n=room, axis=1)
    return np.asarray(counts[:, num_below:].sum(axis=1))


def median_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the median of raw values (n,), see `median_intervals`."""
    low, high = median_intervals(values, confidence)[0]
    return float(low), float(high)


MIN_DIFFERING = 20  # images on which only one model is right: with fewer, a bootstrap is too narrow
MOST_SEEDS = 1_000


def wilson_interval(
    num_right: int, num_images: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
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
        spread = (
            student_quantile(confidence, len(values) - 1)
            * float(values.std(ddof=1))
            / math.sqrt(len(values))
        )
    return Estimate(
        mean,
        max(0.0, mean - math.hypot(mean - low, spread)),
        min(100.0, mean + math.hypot(high - mean, spread)),
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


def paired_bootstrap(
    only_a: int, only_b: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval in points of the difference of two models on n images, which are drawn again with what both said.

    In closed form: a resample's difference is a sum of n draws of +1, -1 and 0, so its distribution
    is a power of one draw's, and the limits are those of infinitely many resamples.
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

    Student's two-sided test at 5 % of the difference that was seen, with the spread that was seen
    (the shift of its power is taken as Student's too). None with one seed of either, or without a
    difference.
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

    One seed each: McNemar's exact p, and a paired bootstrap's interval (of Agresti and Min, 2005,
    where few images differ). Else both hold the variance over the images and, as in Welch's test,
    over the seeds; a model with one seed is taken to have no spread of its own.
    """
    n = a.shape[1]
    if len(a) == len(b) == 1:
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        if only_a + only_b >= MIN_DIFFERING:
            low, high = paired_bootstrap(only_a, only_b, n, confidence)
            return Estimate(100 * (only_a - only_b) / n, low, high), mcnemar(only_a, only_b)
        share, total = (only_a - only_b) / n, n + 2
        adjusted = (only_a - only_b) / total
        half = math.sqrt(((only_a + only_b + 1) / total - adjusted**2) / total) * normal_quantile(
            confidence
        )
        return Estimate(100 * share, 100 * (adjusted - half), 100 * (adjusted + half)), mcnemar(
            only_a, only_b
        )
    each = a.mean(axis=0) - b.mean(axis=0)
    parts = [(float(each.var(ddof=1)) / n, n - 1)]
    parts += [
        (float(s.mean(axis=1).var(ddof=1)) / len(s), len(s) - 1) for s in (a, b) if len(s) > 1
    ]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v * v / d for v, d in parts) if variance else 1.0
    difference, error = 100 * float(each.mean()), 100 * math.sqrt(variance)
    half = error * student_quantile(confidence, freedom)
    p = (
        2 * float(special.stdtr(freedom, -abs(difference) / error))
        if error
        else float(difference == 0)
    )
    return Estimate(difference, difference - half, difference + half), p
