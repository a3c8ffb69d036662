"""Joint draws of many models' figures, as new images, seeds or rounds might give them.

numpy and scipy, no torch. What models share is drawn once for all of them: the images of a test
set, the rounds of a comparison. So of every draw it can be asked which model is best, or which
keeps a limit; the share of draws in which one is estimates how likely that is. Where two models'
figures are one and the same, so are their draws.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.results.image_interval import fold_means, overlap_factor
from bench.results.interval import (
    CONFIDENCE,
    Estimate,
    block_length,
    freedom_of_blocks,
    normal_quantile,
)

NUM_DRAWS = 2_000  # a probability is known to 1.1 points
VALUES_AT_ONCE = 1 << 22  # bounds the memory of draw_percentiles, not its result
Draws = NDArray[np.float64]


def draw_means(
    models: Sequence[NDArray[np.floating] | NDArray[np.bool_]],
    draw: np.random.Generator,
    num_draws: int = NUM_DRAWS,
    folds: NDArray[np.int64] | None = None,
) -> Draws:
    """Draw the models' means over images and seeds, (num_draws, models).

    A model is (seeds, n), numbers of the same n images, and may have seeds of its own number. The
    images are drawn again with what all models said of them, in the limit of many: the means are
    jointly normal with the images' covariance, and nothing of length n is drawn. Seeds are a
    model's own; their mean is drawn from Student's distribution, wider for being few. A model with
    one seed is taken to have no spread between seeds: the draws then cover images alone.
    Differences of two models are Behrens' and Fisher's, a little wider than Welch's. With `folds`
    (n,) the covariance is that of folds that overlap, see `image_interval.variance_over_images`.
    """
    each = np.stack([seeds.mean(axis=0, dtype=np.float64) for seeds in models])
    means = each.mean(axis=1, keepdims=True)
    n = each.shape[1]
    covariance = np.atleast_2d(np.cov(each)) / n
    widening: float | NDArray[np.float64] = 1.0
    if folds is not None:
        between = fold_means(each, folds)
        k = between.shape[1]
        of_folds = overlap_factor(k) * np.atleast_2d(np.cov(between))
        if np.trace(of_folds) > np.trace(covariance):
            covariance = of_folds
            # A normal number over it is Student's.
            widening = np.sqrt((k - 1) / draw.chisquare(k - 1, (num_draws, 1)))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    draws = means.T + widening * (draw.standard_normal((num_draws, len(models))) @ root.T)
    for column, seeds in enumerate(models):
        k = len(seeds)
        if k > 1:
            error = seeds.mean(axis=1, dtype=np.float64).std(ddof=1) / np.sqrt(k)
            draws[:, column] += error * draw.standard_t(k - 1, num_draws)
    return np.asarray(draws)


def draw_percentiles(
    series: NDArray[np.float64],
    percent: float,
    draw: np.random.Generator,
    num_draws: int = NUM_DRAWS,
) -> Draws:
    """Draw a percentile of each model's `series` (models, rounds), (num_draws, models).

    Values are positive, such as seconds, and value i of every model is of round i. Blocks of
    neighbouring rounds are drawn again for all models at once (Politis and Romano 1992), and the
    ratios to the percentile at hand are widened as in `interval.median_intervals`, by what
    Student's distribution is wider than the normal.
    """
    num_models, n = series.shape
    length = block_length(n)
    num_blocks = -(-n // length)
    starts = draw.integers(0, n, (num_draws, num_blocks))
    rounds = ((starts[:, :, None] + np.arange(length)) % n).reshape(num_draws, -1)[:, :n]
    logs = np.log(series)
    centre = np.percentile(logs, percent, axis=1, method="inverted_cdf")
    drawn = np.empty((num_draws, num_models))
    at_once = max(1, VALUES_AT_ONCE // (num_models * n))
    for first in range(0, num_draws, at_once):
        some = logs[:, rounds[first : first + at_once]]
        part = np.percentile(some, percent, axis=2, method="inverted_cdf")
        drawn[first : first + at_once] = part.T
    # One factor a draw for all models: a normal number over it is Student's.
    free = freedom_of_blocks(n)
    widening = np.sqrt(free / draw.chisquare(free, (num_draws, 1)))
    return np.asarray(np.exp(centre + (drawn - centre) * widening))


def draw_estimates(
    estimates: Sequence[Estimate], draw: np.random.Generator, num_draws: int = NUM_DRAWS
) -> Draws:
    """Draw figures of which only the 95 % intervals are known, (num_draws, figures).

    Each by itself and half a normal to either side, as wide as the interval's. A figure without an
    interval, and a side without an end, don't vary.
    """
    values, lows, highs = np.asarray(estimates, dtype=np.float64).reshape(-1, 3).T
    reach = normal_quantile(CONFIDENCE)
    below = np.where(np.isfinite(lows), values - lows, 0) / reach
    above = np.where(np.isfinite(highs), highs - values, 0) / reach
    errors = draw.standard_normal((num_draws, len(values)))
    return np.asarray(values + errors * np.where(errors < 0, below, above))


def share_of_best(draws: Draws) -> NDArray[np.float64]:
    """Return in what share of `draws` (num_draws, models) each model is highest, (models,).

    Models that tie share the draw.
    """
    best = draws == draws.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))
