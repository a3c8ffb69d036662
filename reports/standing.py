"""Who stands where in top-1: the interval of each row's rank, and tiers of rows."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.interval import CONFIDENCE, Estimate, normal_quantile
from bench.results.rank import adjust_pairs, count_inseparable, p_values_of_pairs, rank_models

Key = TypeVar("Key", bound=Hashable)


class Top1(NamedTuple):
    """A row's top-1, which images its seeds got right, (seeds, n), or (0, 0), and their folds."""

    top1: Estimate
    correct: NDArray[np.bool_]
    folds: NDArray[np.int64] | None = None


class Standing(NamedTuple):
    """A row's rank with 95 % confidence, `low` to `high`, and its tier; from 1."""

    low: int
    high: int
    tier: int


@dataclass(frozen=True)
class Standings(Generic[Key]):
    """All rows' standings, and how many of the neighbouring pairs aren't proven to differ."""

    rows: dict[Key, Standing]
    num_inseparable: int


def standings_of(rows: Mapping[Key, Top1]) -> Standings[Key]:
    """Return the standings of rows that may be ranked together.

    Two rows are told apart on the same images, over images and seeds at once, or by their intervals
    where one has no predictions or those of other images. The intervals of all rows' ranks hold
    together in 95 % of all cases.
    """
    tested = list(rows.values())
    if not tested:
        return Standings({}, 0)
    differ = adjust_pairs(_p_values(tested)) < 1 - CONFIDENCE
    values = [row.top1.value for row in tested]
    ranks = rank_models(values, differ)
    columns = (ranks.low.tolist(), ranks.high.tolist(), ranks.tier.tolist())
    found = {key: Standing(*row) for key, row in zip(rows, zip(*columns, strict=True), strict=True)}
    return Standings(found, count_inseparable(values, differ))


def _p_values(tested: list[Top1]) -> NDArray[np.float64]:
    """Return the p (m, m) that two rows are equally accurate."""
    values = np.array([row.top1.value for row in tested])
    widths = np.array([row.top1.high - row.top1.low for row in tested])
    errors = widths / 2 / normal_quantile(CONFIDENCE)
    both = np.maximum(np.hypot(errors[:, None], errors), math.ulp(1.0))
    p = 2 * special.ndtr(-np.abs(values[:, None] - values) / both)
    sizes = Counter(row.correct.shape[1] for row in tested if row.correct.size)
    if sizes:
        # Of rows with other images the most numerous are paired.
        (num_images, _), *_ = sizes.most_common(1)
        same = [i for i, row in enumerate(tested) if row.correct.shape[1] == num_images]
        # Rows that may be ranked together have the same folds.
        correct = [tested[i].correct for i in same]
        p[np.ix_(same, same)] = p_values_of_pairs(correct, tested[same[0]].folds)
    return np.asarray(p)
