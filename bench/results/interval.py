"""Intervals of medians from rounds that are not independent, and what all tests are made of.

numpy and scipy, no torch.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

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
    limit = special.stdtrit(freedom_of_blocks(series.shape[1]), (1 - confidence) / 2)
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
    widened = special.stdtr(freedom_of_blocks(n), special.ndtri(drawn))
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
    p = student_p(centre, half / quantile, n - 1)
    return Estimate(centre, centre - half, centre + half), p


def ratio_estimate(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Return the geometric mean of paired ratios, with Student's interval over their logarithms.

    One pair has no spread, and so an infinite interval.
    """
    logs = np.log(above) - np.log(below)
    mean = float(logs.mean())
    if len(logs) == 1:
        return Estimate(math.exp(mean), 0.0, math.inf)
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    half = student_quantile(CONFIDENCE, len(logs) - 1) * error
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def student_p(difference: float, error: float, freedom: float) -> float:
    """Return Student's two-sided p that a difference with this standard error is 0."""
    if not error:
        return float(difference == 0)
    return 2 * float(special.stdtr(freedom, -abs(difference) / error))


def rounds_needed(num_pairs: int, significance: float = 1 - CONFIDENCE) -> int:
    """Return the fewest rounds whose signs, all alike, prove a difference in one of many pairs.

    That is Holm's first step: the smallest p, 2 / 2^n, against the significance over all pairs.
    """
    return max(MIN_VALUES, 1 + math.ceil(math.log2(max(1, num_pairs) / significance)))


def block_length(n: int) -> int:
    return max(1, round(math.cbrt(n)))


def freedom_of_blocks(n: int) -> float:
    """Return the degrees of freedom of a variance from overlapping blocks of n values."""
    return 1.5 * n / block_length(n) - 1


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
    length = block_length(n)
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


def pooled_freedom(parts: Sequence[tuple[Any, float]]) -> Any:
    """Return the degrees of freedom of a sum of variances that are not all 0.

    `parts` are the variances, numbers or arrays, each with its own degrees of freedom (Welch 1947,
    Satterthwaite 1946).
    """
    variance = sum(part for part, _ in parts)
    return variance**2 / sum(part * part / own for part, own in parts)
