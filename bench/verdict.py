"""Intervals, tests and verdicts over raw values, and what may be ranked together. numpy and scipy, no torch."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.record import Measurement, RunRecord

Verdict = Literal["same", "faster", "slower", "undecided"]
CONFIDENCE = 0.95
NOISE_THRESHOLD = 0.02  # ratios within 2 % of 1 are of no consequence to anyone who picks a model
NUM_RESAMPLES = 2_000


def wilson_interval(num_right: int, num_images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of an accuracy in percent (Wilson 1927), from the counts of one evaluation."""
    interval = stats.binomtest(num_right, num_images).proportion_ci(confidence, method="wilson")
    return 100 * interval.low, 100 * interval.high


def block_bootstrap(values: NDArray[np.float64], *, seed: int = 0) -> NDArray[np.float64]:
    """Draw NUM_RESAMPLES medians of `values` (n,), resampling blocks of neighbours: rounds in a row are not independent.

    Circular blocks of about n^(1/3) (Politis and Romano 1992); the draws are fixed by `seed`, so a page built twice
    says the same.
    """
    n = len(values)
    length = max(1, round(n ** (1 / 3)))
    starts = np.random.default_rng(seed).integers(0, n, size=(NUM_RESAMPLES, -(-n // length)))
    rows = (starts[:, :, None] + np.arange(length)).reshape(NUM_RESAMPLES, -1)[:, :n] % n
    return np.asarray(np.median(values[rows], axis=1))


def median_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bootstrap interval of the median of raw values."""
    low, high = np.quantile(block_bootstrap(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def rate_interval(measurement: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a measurement's `value`, in its unit."""
    low, high = median_interval(np.asarray(measurement.merged), confidence)
    return (low, high) if measurement.images is None else (measurement.images / high, measurement.images / low)


def speed_ratio(a: Measurement, b: Measurement, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """How many times as fast `a` is as `b`, round by round: (median ratio, low, high).

    Both must come from one pass of a Comparison, so that their values pair by index; ValueError otherwise.
    """
    if len(a.merged) != len(b.merged):
        raise ValueError(f"{len(a.merged)} values of {a.metric} can't be paired with {len(b.merged)}")
    logs = np.log(np.asarray(b.merged) / np.asarray(a.merged) * ((a.images or 1) / (b.images or 1)))
    low, high = median_interval(logs, confidence)
    return float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high))


def verdict(low: float, high: float, threshold: float = NOISE_THRESHOLD) -> Verdict:
    """Read an interval of a speed ratio: *same* inside the noise threshold, else the side of 1 it lies on, else open."""
    if low >= 1 / (1 + threshold) and high <= 1 + threshold:
        return "same"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "undecided"


def rank_with_ties(intervals: list[tuple[float, float]]) -> list[int]:
    """Rank intervals, best (highest) first: 1 + the number of others that lie wholly above. Overlaps share no order."""
    return [1 + sum(other_low > high for other_low, _ in intervals) for _, high in intervals]


RANKED_TOGETHER = ("stand_in", "data", "checksum", "protocol", "image_size", "batch_size", "precision", "channels_last",
                   "num_threads", "world_size", "machine")


def ranking_key(record: RunRecord) -> dict[str, object]:
    """What must agree before two records stand in one ranking: data, rules and machine (names of RANKED_TOGETHER)."""
    config, environment = record.config, record.environment
    values = (record.data.stand_in, record.data.name, record.data.checksum, record.data.protocol,
              config.get("image_size"), record.batch_size, config.get("precision"), config.get("channels_last"),
              environment.get("num_threads"), record.world_size, environment.get("machine"))
    return dict(zip(RANKED_TOGETHER, values, strict=True))
