"""Tests over folds. Oracles: Nadeau and Bengio's formula by hand, and learners that are equal.

Equal by construction: two learners of one kind, each on features of its own, drawn alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.data.subset import deal_folds
from bench.results.bootstrap import image_covariance
from bench.results.image_interval import mean_difference, top1_difference, top1_estimate
from bench.results.rank import p_values_of_pairs
from bench.results.record import Accuracy

Learner = Callable[[Any, Any, Any], NDArray[np.bool_]]


def test_the_variance_between_folds_is_nadeaus_and_bengios() -> None:
    draw = np.random.default_rng(0)
    folds = np.repeat(np.arange(1, 6), 40)
    # Folds that differ by far more than their images let expect.
    a = (0.7 + 0.1 * draw.normal(size=5)[folds - 1] + 0.05 * draw.normal(size=200))[None]
    b = 0.01 * draw.normal(size=(1, 200))
    found, p = mean_difference(a, b, folds=folds)
    of_folds = (a - b)[0].reshape(5, 40).mean(axis=1)
    # Their test and training sets are a fifth and four fifths: 1 / J + n2 / n1.
    error = np.sqrt((1 / 5 + 0.2 / 0.8) * of_folds.var(ddof=1))
    half = stats.t.ppf(0.975, 4) * error
    assert found == pytest.approx(
        (of_folds.mean(), of_folds.mean() - half, of_folds.mean() + half), rel=1e-6
    )
    assert p == pytest.approx(2 * stats.t.sf(of_folds.mean() / error, 4))


def test_folds_that_agree_by_chance_leave_the_doubt_of_their_images() -> None:
    # Every other image right, in every fold.
    right = np.tile([[True, False]], 50)
    folds = np.arange(100) // 2 % 5
    found, _ = top1_difference(right, np.zeros((1, 100), bool), folds=folds)
    half = stats.t.ppf(0.975, 99) * np.sqrt(right.var(ddof=1) / 100)
    assert found == pytest.approx((50, 50 - 100 * half, 50 + 100 * half))


def test_all_pairs_at_once_are_those_one_by_one() -> None:
    draw = np.random.default_rng(1)
    folds = deal_folds(draw.integers(0, 3, 90), 4)
    ease = draw.normal(size=5)[folds]
    models = [draw.normal(size=(k, 90)) + ease * k < 0.5 for k in (1, 1, 3, 2)]
    p = p_values_of_pairs(models, folds)
    for i in range(4):
        for j in range(i):
            expected = top1_difference(models[i], models[j], folds=folds)[1]
            assert p[i, j] == p[j, i] == pytest.approx(expected)


def test_top1_over_folds_is_no_surer_than_wilsons() -> None:
    counts = Accuracy(
        split="test", num_images=500, num_top1=400, num_top5=500, loss=1.0, num_superclass=None
    )
    plain = top1_estimate([counts])
    assert top1_estimate([counts], of_folds=[80.0] * 5) == plain
    apart = [70.0, 75.0, 80.0, 85.0, 90.0]
    half = stats.t.ppf(0.975, 4) * np.sqrt(0.45) * np.std(apart, ddof=1)
    assert top1_estimate([counts], of_folds=apart) == pytest.approx((80, 80 - half, 80 + half))


def test_the_covariance_of_folds_is_as_wide_as_the_interval_of_a_difference() -> None:
    draw = np.random.default_rng(3)
    folds = np.repeat(np.arange(1, 6), 40)
    models = [draw.normal(size=(1, 200)) + 0.5 * draw.normal(size=5)[folds - 1] for _ in "ab"]
    covariance = image_covariance(models, folds)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found, _ = mean_difference(*models, folds=folds)
    assert stats.norm.ppf(0.975) * error == pytest.approx((found.high - found.low) / 2)


def nearest(images: Any, labels: Any, tested: Any) -> NDArray[np.bool_]:
    """The class of the nearest neighbour: another training set gives another classifier."""
    distances = ((tested[:, None] - images[None]) ** 2).sum(axis=2)
    return np.asarray(labels[distances.argmin(axis=1)])


def centroid(images: Any, labels: Any, tested: Any) -> NDArray[np.bool_]:
    """The class of the nearer mean: hardly another classifier."""
    high, low = images[labels].mean(axis=0), images[~labels].mean(axis=0)
    return np.asarray((tested - (high + low) / 2) @ (high - low) > 0)


def answers_of(learn: Learner, folds: Any, labels: Any, draw: np.random.Generator) -> Any:
    """Return which images a learner gets right that has features of its own, (1, n)."""
    features = draw.normal(size=(len(labels), 10)) + 0.25 * np.where(labels, 1, -1)[:, None]
    right = np.zeros((1, len(labels)), bool)
    for fold in range(1, 6):
        tested = folds == fold
        said = learn(features[~tested], labels[~tested], features[tested])
        right[0, tested] = said == labels[tested]
    return right


@pytest.mark.slow
@pytest.mark.parametrize("learn", [nearest, centroid])
def test_equal_learners_are_told_apart_in_one_case_of_twenty_at_most(learn: Learner) -> None:
    draw = np.random.default_rng(2)
    labels = np.arange(200) % 2 == 1
    folds = deal_folds(labels.astype(np.int64), 5)
    apart, apart_by_mcnemar = 0, 0
    for _ in range(600):
        a, b = (answers_of(learn, folds, labels, draw) for _ in range(2))
        apart += top1_difference(a, b, folds=folds)[1] < 0.05
        apart_by_mcnemar += top1_difference(a, b)[1] < 0.05
    assert apart <= 0.05 * 600
    if learn is nearest:
        assert apart_by_mcnemar > 0.08 * 600, "why folds aren't tested as one test set is"
