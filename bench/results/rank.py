"""Ranks with their intervals, and tiers, from tests of all pairs of models. numpy and scipy.

A model may stand above as many places as there are models that are proven better, and no lower than
those that are proven worse leave. Where the tests of all pairs are right together in 95 % of all
cases, all these intervals hold the true ranks together as often, ties and near-ties included
(Mogstad, Romano, Shaikh and Wilhelm, "Inference for Ranks with Applications to Mobility across
Neighborhoods and Academic Achievement across Countries", on simultaneous confidence sets). The
percentiles of ranks in bootstrap draws don't: among equals they leave out ranks that are as true as
those that they hold.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.image_interval import fold_means, overlap_factor
from bench.results.interval import CONFIDENCE, student_quantile

Matrix = NDArray[np.float64]


class Ranks(NamedTuple):
    """The interval of each model's rank, and the tier that it is in; all from 1, (models,)."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    tier: NDArray[np.int64]


def p_values_of_pairs(
    models: Sequence[NDArray[Any]], folds: NDArray[np.int64] | None = None
) -> Matrix:
    """Return the two-sided p (m, m) that two models' means over images and seeds are equal.

    A model is (seeds, n), right or not on the same n images, or numbers of them. For each pair it
    is the p of `image_interval.top1_difference` or `mean_difference`: McNemar's exact test for one
    seed each of right or not, else Student's on the paired differences and the seeds (Welch 1947).
    `folds` (n,) are those that the images were tested in, where there are any.
    """
    each = np.stack([seeds.mean(axis=0, dtype=np.float64) for seeds in models])
    n = each.shape[1]
    means = each.mean(axis=1)
    of_images, freedom = _variance_of_differences(each) / n, np.array(n - 1)
    if folds is not None:
        of_images, freedom = _heed_folds(of_images, each, folds)
    # Variances of the means between seeds, each over its own degrees of freedom where it has some.
    of_seeds, over_freedom = np.zeros(len(models)), np.zeros(len(models))
    for i, seeds in enumerate(models):
        if len(seeds) > 1:
            of_seeds[i] = seeds.mean(axis=1, dtype=np.float64).var(ddof=1) / len(seeds)
            over_freedom[i] = of_seeds[i] ** 2 / (len(seeds) - 1)
    variance = of_images + of_seeds[:, None] + of_seeds
    differences = np.abs(means[:, None] - means)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = of_images**2 / freedom + over_freedom[:, None] + over_freedom
        p = 2 * special.stdtr(variance**2 / spread, -differences / np.sqrt(variance))
    p = np.where(variance > 0, p, differences == 0)
    # A model of other numbers than right or not has no counts of them.
    counted = [i for i, seeds in enumerate(models) if len(seeds) == 1 and seeds.dtype == bool]
    if counted and folds is None:
        right = each[counted]
        only_own = np.rint(right @ (1 - right).T).astype(np.int64)
        fewer = np.minimum(only_own, only_own.T).astype(np.float64)
        exact = np.minimum(1.0, 2 * special.bdtr(fewer, only_own + only_own.T, 0.5))
        p[np.ix_(counted, counted)] = exact
    np.fill_diagonal(p, 1)
    return np.asarray(p)


def _heed_folds(
    of_images: Matrix, each: Matrix, folds: NDArray[np.int64]
) -> tuple[Matrix, NDArray[np.int64]]:
    """Return `image_interval.variance_over_images` of each pair, and its degrees of freedom."""
    means = fold_means(each, folds)
    n, k = each.shape[1], means.shape[1]
    of_folds = overlap_factor(k) * _variance_of_differences(means)
    images_reach = np.sqrt(of_images) * student_quantile(CONFIDENCE, n - 1)
    wider = images_reach > np.sqrt(of_folds) * student_quantile(CONFIDENCE, k - 1)
    return np.where(wider, of_images, of_folds), np.where(wider, n - 1, k - 1)


def _variance_of_differences(each: Matrix) -> Matrix:
    """Return the variance, over n numbers of m models (m, n), of each pair's differences (m, m)."""
    covariance = np.atleast_2d(np.cov(each))
    own = np.diag(covariance)
    return np.asarray(np.clip(own[:, None] + own - 2 * covariance, 0, None))


def adjust_pairs(p: Matrix) -> Matrix:
    """Adjust the p values (m, m) of all pairs for their number (Holm 1979)."""
    rows, columns = np.triu_indices(len(p), 1)
    own = p[rows, columns]
    order = np.argsort(own, kind="stable")
    scaled = np.minimum(1.0, own[order] * np.arange(len(own), 0, -1))
    adjusted = np.ones_like(p)
    # Never below an earlier one: an adjusted p must not turn the order round.
    adjusted[rows[order], columns[order]] = np.maximum.accumulate(scaled)
    return np.minimum(adjusted, adjusted.T)


def rank_models(values: Sequence[float], differ: NDArray[np.bool_]) -> Ranks:
    """Return the ranks of models by `values` (m,), the highest first.

    `differ` (m, m) says which pairs are proven to differ. A tier is the best model that is in none
    yet, and those after it down to the first one that is proven worse than it.
    """
    figures = np.asarray(values, dtype=np.float64)
    above = figures > figures[:, None]  # [i, j]: j is above i
    low = 1 + (differ & above).sum(axis=1)
    high = len(figures) - (differ & above.T).sum(axis=1)
    tier = np.zeros(len(figures), dtype=np.int64)
    head, number = -1, 0
    for row in np.argsort(-figures, kind="stable"):
        if head < 0 or differ[row, head]:
            head, number = int(row), number + 1
        tier[row] = number
    return Ranks(low, high, tier)


def count_inseparable(values: Sequence[float], differ: NDArray[np.bool_]) -> int:
    """Count the neighbouring pairs in the order of `values` (m,) that aren't proven to differ."""
    order = np.argsort(-np.asarray(values, dtype=np.float64), kind="stable")
    return int((~differ[order[:-1], order[1:]]).sum())
