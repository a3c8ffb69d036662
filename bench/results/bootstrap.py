"""How many models' figures err together, as new images, seeds or rounds would show.

numpy and scipy, no torch. What models share is drawn once for all of them: the images of a test
set, the rounds of a comparison. Where two models' figures are one and the same, so are their
errors.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.image_interval import fold_means, overlap_factor
from bench.results.interval import (
    CONFIDENCE,
    block_length,
    freedom_of_blocks,
    normal_quantile,
    student_quantile,
)

NUM_DRAWS = 400  # a standard error is known to 4 %
VALUES_AT_ONCE = 1 << 22  # bounds the memory of draw_percentiles, not its result
NEWTON_STEPS = 20  # ten are enough for 15 digits
Matrix = NDArray[np.float64]
Models = Sequence[NDArray[np.floating] | NDArray[np.bool_]]


def image_covariance(models: Models, folds: NDArray[np.int64] | None = None) -> Matrix:
    """Return the covariance (m, m) of the models' means over images drawn anew.

    A model is (seeds, n), numbers of the same n images, and may have seeds of its own number. The
    images are drawn with what all models said of them, in the limit of many. With `folds` (n,) the
    covariance is that of folds that overlap, where that is wider, see
    `image_interval.variance_over_images`; widened as that of seeds is.
    """
    each = np.stack([seeds.mean(axis=0, dtype=np.float64) for seeds in models])
    n = each.shape[1]
    centred = each - each.mean(axis=1, keepdims=True)
    of_images = centred @ centred.T / (n - 1) / n
    if folds is not None:
        between = fold_means(each, folds)
        k = between.shape[1]
        widening = student_quantile(CONFIDENCE, k - 1) / normal_quantile(CONFIDENCE)
        of_folds = overlap_factor(k) * np.atleast_2d(np.cov(between)) * widening**2
        if np.trace(of_folds) > np.trace(of_images):
            return np.asarray(of_folds)
    return np.asarray(of_images)


def seed_variances(models: Models) -> NDArray[np.float64]:
    """Return the variance (m,) of each model's mean over new seeds; zeros if none has two.

    Of few seeds a variance says little, so each is drawn towards those of all models as far as they
    are alike (`moderate_variances`), and a model with one seed has theirs. Widened by what
    Student's 95 % limits are wider than the normal ones.
    """
    counts = np.array([len(seeds) for seeds in models])
    means = [seeds.mean(axis=1, dtype=np.float64) for seeds in models]
    variances = np.array([own.var(ddof=1) if len(own) > 1 else 0.0 for own in means])
    moderated, freedom = moderate_variances(variances, counts - 1)
    if not np.isfinite(moderated).all():
        return np.zeros(len(models))
    widening = [student_quantile(CONFIDENCE, each) for each in freedom]
    return np.asarray(moderated / counts * (np.array(widening) / normal_quantile(CONFIDENCE)) ** 2)


def moderate_variances(
    variances: NDArray[np.float64], freedom: NDArray[np.signedinteger]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is known of true variances (m,) from estimates, and the degrees of freedom.

    By empirical Bayes: true variances are taken to be scaled inverse chi-squared, and how widely
    they spread is read from the estimates' logarithms (Smyth 2004, "Linear Models and Empirical
    Bayes Methods", sections 3 and 6.2). NaN if no estimate has a degree of freedom.
    """
    told = (freedom > 0) & (variances > 0)
    free = freedom.astype(np.float64)
    if not told.any():
        none = np.nan if not (freedom > 0).any() else 0.0
        return np.full(len(variances), none), np.maximum(free, 1.0)
    half = free[told] / 2
    pooled = float((free * variances).sum() / free.sum())
    logs = np.log(variances[told]) - special.digamma(half) + np.log(half)
    excess = 0.0
    if told.sum() > 1:
        excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:  # no wider than chance would make equal ones
        return np.full(len(variances), pooled), np.full(len(variances), free.sum())
    prior = 2 * _inverse_trigamma(excess)
    centre = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    moderated = (prior * centre + free * variances) / (prior + free)
    return moderated, prior + free


def _inverse_trigamma(value: float) -> float:
    """Return where the trigamma function has a value (Smyth 2004, appendix)."""
    found = 0.5 + 1 / value
    for _ in range(NEWTON_STEPS):
        at = float(special.polygamma(1, found))
        found += at * (1 - at / value) / float(special.polygamma(2, found))
    return found


def percentile_covariance(series: Matrix, percent: float, draw: np.random.Generator) -> Matrix:
    """Return the covariance (m, m) of the logarithms of a percentile of each model's `series`.

    `series` (m, rounds) are positive, such as seconds, and value i of every model is of round i.
    """
    draws = np.log(draw_percentiles(series, percent, draw))
    return np.atleast_2d(np.cov(draws, rowvar=False))


def draw_percentiles(
    series: Matrix, percent: float, draw: np.random.Generator, num_draws: int = NUM_DRAWS
) -> Matrix:
    """Draw a percentile of each model's `series` (models, rounds), (num_draws, models).

    Blocks of neighbouring rounds are drawn again for all models at once (Politis and Romano 1992),
    and the ratios to the percentile at hand are widened as in `interval.median_intervals`, by what
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
    free = freedom_of_blocks(n)
    widening = student_quantile(CONFIDENCE, free) / normal_quantile(CONFIDENCE)
    return np.asarray(np.exp(centre + (drawn - centre) * widening))
