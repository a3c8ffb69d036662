"""How figures err together.

Oracles: scipy's bootstrap, the intervals of the same figures, closed forms, and variances whose
truth is known.
"""

import math

import numpy as np
import pytest
from scipy import stats

from bench.results.bootstrap import (
    draw_percentiles,
    image_covariance,
    moderate_variances,
    percentile_covariance,
    seed_variances,
)
from bench.results.image_interval import mean_difference


def draw_right(n: int, chances: list[float], seed: int) -> list[np.ndarray]:
    """Draw which of n images models get right, hard images being hard for all."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(size=n)
    limits = stats.norm.ppf(chances) * np.sqrt(2)
    return [(hard + draw.normal(size=(1, n)) < limit) for limit in limits]


def test_images_move_a_difference_as_scipys_paired_bootstrap_says() -> None:
    a, b = draw_right(800, [0.7, 0.65], 0)
    covariance = image_covariance([a, b])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = stats.bootstrap(
        (a[0].astype(float), b[0].astype(float)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    assert error == pytest.approx(found.standard_error, rel=0.05)
    estimate, _ = mean_difference(a, b)
    assert 1.96 * error == pytest.approx((estimate.high - estimate.low) / 2, rel=0.01)


def test_one_models_seeds_vary_as_students_interval_says() -> None:
    a = np.array([0.1, 0.2, 0.45])[:, None] * np.ones((1, 50))
    half = stats.t.ppf(0.975, 2) * a[:, 0].std(ddof=1) / np.sqrt(3)
    assert 1.96 * np.sqrt(seed_variances([a])) == pytest.approx([half], rel=1e-3)


def test_without_a_second_seed_nothing_is_known_of_seeds() -> None:
    assert seed_variances(draw_right(100, [0.5, 0.6], 3)).tolist() == [0, 0]


def test_a_model_with_one_seed_has_the_others_spread() -> None:
    draw = np.random.default_rng(4)
    models = [draw.normal(0, 0.5, (4, 1)) * np.ones((1, 30)) for _ in range(40)]
    variances = seed_variances([*models, models[0][:1]])
    assert variances[-1] == pytest.approx(0.25, rel=0.3)
    assert variances[:-1].mean() == pytest.approx(0.25 / 4, rel=0.3)


def test_equal_variances_are_pooled_and_differing_ones_kept_apart() -> None:
    draw = np.random.default_rng(5)
    freedom = np.full(200, 4)
    alike = draw.chisquare(4, 200) / 4
    moderated, free = moderate_variances(alike, freedom)
    assert np.ptp(moderated) < 0.3
    assert free.min() > 50
    truths = np.where(np.arange(200) % 2, 1.0, 100.0)
    moderated, free = moderate_variances(truths * alike, freedom)
    # Each is nearer to its truth than what was measured of it.
    measured = np.abs(np.log(alike)).mean()
    assert np.abs(np.log(moderated / truths)).mean() < measured
    assert free.max() < 10


def test_a_model_and_its_copy_err_alike() -> None:
    (a,) = draw_right(500, [0.6], 4)
    covariance = image_covariance([a, a])
    assert covariance[0, 0] == pytest.approx(covariance[0, 1])
    series = np.random.default_rng(6).lognormal(size=(1, 40))
    both = draw_percentiles(np.repeat(series, 2, axis=0), 95, np.random.default_rng(7))
    assert (both[:, 0] == both[:, 1]).all()


def test_medians_vary_with_the_rounds_as_is_known_of_normal_ones() -> None:
    draw = np.random.default_rng(8)
    covariance = percentile_covariance(np.exp(draw.normal(0, 0.2, (40, 60))), 50, draw)
    errors = np.sqrt(np.diag(covariance))
    # The asymptotic error of a median, widened as Student's interval is.
    widening = stats.t.ppf(0.975, 1.5 * 60 / 4 - 1) / stats.norm.ppf(0.975)
    expected = math.sqrt(math.pi / 2) * 0.2 / math.sqrt(60) * widening
    assert errors.mean() == pytest.approx(expected, rel=0.1)


def test_what_a_round_does_to_all_models_is_no_difference_between_them() -> None:
    draw = np.random.default_rng(9)
    seconds = np.exp(draw.normal(0, 0.2, 60) + draw.normal(0, 0.02, (2, 60)))
    covariance = percentile_covariance(seconds, 50, draw)
    between = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    # Drawn apart, twice as much would be between them as each has.
    assert between < 0.6 * covariance[0, 0]
