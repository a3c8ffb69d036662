"""Intervals, tests and verdicts over raw values, and what may be ranked together. numpy and scipy, no torch."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.record import Accuracy, Measurement, RunRecord

Verdict = Literal["same", "faster", "slower", "undecided"]
CONFIDENCE = 0.95
NOISE_THRESHOLD = 0.02  # ratios within 2 % of 1 are of no consequence to anyone who picks a model
MIN_VALUES = 6  # with fewer, no interval between two of the values holds the median in 95 % of all cases (2 / 2^n)
ROWS_AT_ONCE = 512  # bounds the memory of median_intervals, not its result


class Estimate(NamedTuple):
    """A value with its interval; the interval is infinite where the values are too few for one."""

    value: float
    low: float
    high: float


def wilson_interval(num_right: int, num_images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of an accuracy in percent (Wilson 1927), from the counts of one evaluation."""
    return _wilson(num_right / num_images, num_images, _normal(confidence))


def _normal(confidence: float) -> float:
    """How many standard errors a normal interval reaches to either side."""
    return float(special.ndtri((1 + confidence) / 2))


def _student(confidence: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


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
    low, high = _wilson(mean / 100, seeds[0].num_images, _normal(confidence))
    spread = 0.0
    if len(values) > 1:
        spread = _student(confidence, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(
        mean, max(0.0, mean - math.hypot(mean - low, spread)), min(100.0, mean + math.hypot(high - mean, spread))
    )


def median_intervals(series: NDArray[np.float64], confidence: float = CONFIDENCE) -> NDArray[np.float64]:
    """Intervals (m, 2) of the medians of `series` (m, n): circular block bootstrap, in closed form.

    Rounds in a row are not independent, so blocks of about n^(1/3) neighbours are drawn (Politis and Romano 1992).
    How many drawn values lie under x is a sum of independent draws, one a block: its distribution is a power of the
    distribution over one block, so nothing is simulated, and the limits are those of infinitely many resamples.
    Fewer than MIN_VALUES values give infinite intervals.
    """
    series = np.atleast_2d(np.asarray(series, dtype=np.float64))
    if series.shape[1] < MIN_VALUES:
        return np.tile([-np.inf, np.inf], (len(series), 1))
    tail = (1 - confidence) / 2
    parts = [series[start : start + ROWS_AT_ONCE] for start in range(0, len(series), ROWS_AT_ONCE)]
    half = series.shape[1] // 2
    sides = [
        [_bootstrap_quantile(part, tail, series.shape[1] - half), _bootstrap_quantile(part, 1 - tail, half + 1)]
        for part in parts
    ]
    return np.concatenate([np.stack(side, axis=1) for side in sides]) if sides else np.empty((0, 2))


def _bootstrap_quantile(series: NDArray[np.float64], share: float, num_below: int) -> NDArray[np.float64]:
    """The smallest value (m,) that at least `num_below` drawn values don't exceed in `share` of all resamples."""
    ordered = np.sort(series, axis=1)
    rows = np.arange(len(series))
    low, high = np.zeros(len(series), dtype=np.int64), np.full(len(series), series.shape[1] - 1)
    while (low < high).any():
        middle = (low + high) // 2
        enough = _share_of_resamples(series, ordered[rows, middle], num_below) >= share
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    return np.asarray(ordered[rows, high])


def _share_of_resamples(series: NDArray[np.float64], at: NDArray[np.float64], num_below: int) -> NDArray[np.float64]:
    """In which share (m,) of all block resamples at least `num_below` of the n drawn values are <= `at` (m,)."""
    n = series.shape[1]
    length = max(1, round(n ** (1 / 3)))
    num_blocks = -(-n // length)
    rest = n - (num_blocks - 1) * length  # the last block is cut, so that a resample has n values
    below = series <= at[:, None]
    running = np.cumsum(np.concatenate([np.zeros((len(series), 1)), below, below[:, :length]], axis=1), axis=1)
    room = 1 << n.bit_length()  # above n, so that the sums don't wrap around; a power of two is fast
    spectra = [
        np.fft.rfft(np.stack([(counts == c).mean(axis=1) for c in range(size + 1)], axis=1), n=room, axis=1)
        for size in (length, rest)
        for counts in [running[:, size : size + n] - running[:, :n]]
    ]
    counts = np.fft.irfft(spectra[0] ** (num_blocks - 1) * spectra[1], n=room, axis=1)
    return np.asarray(counts[:, num_below:].sum(axis=1))


def median_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of the median of raw values (n,), see `median_intervals`."""
    low, high = median_intervals(values, confidence)[0]
    return float(low), float(high)


def rate_interval(measurement: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a measurement's `value`, in its unit."""
    return rate_intervals([measurement], confidence)[0]


def rate_intervals(measurements: Sequence[Measurement], confidence: float = CONFIDENCE) -> list[tuple[float, float]]:
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


def speed_ratio(a: Measurement, b: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """How many times as fast `a` is as `b`, round by round: (median ratio, low, high).

    Both must come from one pass of a Comparison, so that their values pair by index; ValueError otherwise.
    """
    return speed_ratios([(a, b)], confidence)[0]


def speed_ratios(pairs: Sequence[tuple[Measurement, Measurement]], confidence: float = CONFIDENCE) -> list[Estimate]:
    """`speed_ratio` of each of many pairs, all with as many rounds."""
    logs = []
    for a, b in pairs:
        ours, theirs = np.asarray(a.merged), np.asarray(b.merged)
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} values of {a.metric} can't be paired with {len(theirs)}")
        logs.append(np.log(theirs / ours * ((a.images or 1) / (b.images or 1))))
    if not logs:
        return []
    limits = np.exp(median_intervals(np.stack(logs), confidence)).tolist()
    return [Estimate(math.exp(np.median(log)), *span) for log, span in zip(logs, limits, strict=True)]


def verdict(low: float, high: float, threshold: float = NOISE_THRESHOLD) -> Verdict:
    """Read an interval of a speed ratio: *same* inside the noise threshold, else its side of 1, else *undecided*."""
    if low >= 1 / (1 + threshold) and high <= 1 + threshold:
        return "same"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "undecided"


def rank_with_ties(intervals: list[tuple[float, float]]) -> list[int]:
    """Rank intervals, best (highest) first: 1 + the number of others that lie wholly above. Overlaps share no order."""
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


def top1_difference(
    a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> tuple[Estimate, float]:
    """Points of top-1 that `a` (seeds, n) is above `b` (seeds, n) on the same n images, and the p of no difference.

    One seed each: McNemar's exact p, and the interval of Agresti and Min (2005). Else both hold the variance over the
    images and, as in Welch's test, over the seeds; a model with one seed is taken to have no spread of its own.
    """
    n = a.shape[1]
    if len(a) == len(b) == 1:
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        share, total = (only_a - only_b) / n, n + 2
        adjusted = (only_a - only_b) / total
        half = math.sqrt(((only_a + only_b + 1) / total - adjusted**2) / total) * _normal(confidence)
        return Estimate(100 * share, 100 * (adjusted - half), 100 * (adjusted + half)), mcnemar(only_a, only_b)
    each = a.mean(axis=0) - b.mean(axis=0)
    parts = [(float(each.var(ddof=1)) / n, n - 1)]
    parts += [(float(s.mean(axis=1).var(ddof=1)) / len(s), len(s) - 1) for s in (a, b) if len(s) > 1]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v * v / d for v, d in parts) if variance else 1.0
    difference, error = 100 * float(each.mean()), 100 * math.sqrt(variance)
    half = error * _student(confidence, freedom)
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error)) if error else float(difference == 0)
    return Estimate(difference, difference - half, difference + half), p


RANKED_TOGETHER = (
    "stand_in", "data", "checksum", "protocol", "image_size", "batch_size", "precision", "channels_last",
    "num_threads", "world_size", "machine",
)  # fmt: skip


def ranking_key(record: RunRecord) -> dict[str, object]:
    """What must agree before two records stand in one ranking: data, rules and machine (names of RANKED_TOGETHER)."""
    config, environment = record.config, record.environment
    values = (
        record.data.stand_in, record.data.name, record.data.checksum, record.data.protocol,
        config.get("image_size"), record.batch_size, config.get("precision"), config.get("channels_last"),
        environment.get("num_threads"), record.world_size, environment.get("machine"),
    )  # fmt: skip
    return dict(zip(RANKED_TOGETHER, values, strict=True))
