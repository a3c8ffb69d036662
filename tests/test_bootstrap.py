"""Joint draws of figures. Oracles: scipy's bootstrap, and the intervals of the same figures."""

import numpy as np
import pytest
from scipy import stats

from bench.results.bootstrap import draw_estimates, draw_means, draw_percentiles, share_of_best
from bench.results.image_interval import mean_difference
from bench.results.interval import Estimate, median_interval

DRAWS = 20_000


def draw_right(n: int, chances: list[float], seed: int) -> list[np.ndarray]:
    """Draw which of n images models get right, hard images being hard for all."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(size=n)
    limits = stats.norm.ppf(chances) * np.sqrt(2)
    return [(hard + draw.normal(size=(1, n)) < limit) for limit in limits]


def test_means_vary_with_the_images_as_scipys_paired_bootstrap_says() -> None:
    a, b = draw_right(800, [0.7, 0.65], 0)
    draws = draw_means([a, b], np.random.default_rng(1), DRAWS)
    found = stats.bootstrap(
        (a[0].astype(float), b[0].astype(float)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    limits = np.quantile(draws[:, 0] - draws[:, 1], [0.025, 0.975])
    assert limits == pytest.approx(tuple(found.confidence_interval), abs=0.003)
    assert draws.mean(axis=0) == pytest.approx([a.mean(), b.mean()], abs=5e-4)


def test_means_vary_with_the_seeds_as_students_interval_says() -> None:
    draw = np.random.default_rng(3)
    a = draw.normal(size=(3, 4_000)) + np.array([[0.0], [0.2], [0.4]])
    b = draw.normal(size=(3, 4_000)) + np.array([[0.1], [0.3], [0.2]])
    draws = draw_means([a, b], draw, DRAWS)
    spread = np.quantile(draws[:, 0], [0.025, 0.975])
    half = stats.t.ppf(0.975, 2) * a.mean(axis=1).std(ddof=1) / np.sqrt(3)
    assert spread == pytest.approx(a.mean() + np.array([-half, half]), rel=0.06)
    estimate, _ = mean_difference(a, b)
    apart = np.quantile(draws[:, 0] - draws[:, 1], [0.025, 0.975])
    # The difference of two of Student's is Behrens' and Fisher's, wider than Welch's.
    assert 1 <= np.ptp(apart) / (estimate.high - estimate.low) <= 1.5


def test_a_model_and_its_copy_are_drawn_alike() -> None:
    (a,) = draw_right(500, [0.6], 4)
    draws = draw_means([a, a], np.random.default_rng(5))
    assert draws[:, 0] == pytest.approx(draws[:, 1], abs=1e-9)
    series = np.random.default_rng(6).lognormal(size=(1, 40))
    both = draw_percentiles(np.repeat(series, 2, axis=0), 95, np.random.default_rng(7))
    assert (both[:, 0] == both[:, 1]).all()
    assert share_of_best(both).tolist() == [0.5, 0.5]


def test_medians_vary_with_the_rounds_as_their_interval_says() -> None:
    draw = np.random.default_rng(8)
    shared = draw.normal(0, 0.2, 60)  # what the machine does to all models of a round
    seconds = np.exp(shared + draw.normal(0, 0.02, (2, 60)))
    draws = draw_percentiles(seconds, 50, draw, DRAWS)
    for own, drawn in zip(seconds, draws.T, strict=True):
        low, high = median_interval(np.log(own))
        limits = np.log(np.quantile(drawn, [0.025, 0.975]))
        assert limits == pytest.approx((low, high), abs=0.25 * (high - low))
    # Paired: independent draws would put 1.4 times one's spread between them.
    assert np.log(draws[:, 0] / draws[:, 1]).std() < 0.6 * np.log(draws[:, 0]).std()


def test_what_only_an_interval_is_known_of_is_drawn_by_itself() -> None:
    known = [Estimate(10, 8, 14), Estimate(3, 3, 3), Estimate(5, -np.inf, np.inf)]
    draws = draw_estimates(known, np.random.default_rng(9), DRAWS)
    assert np.quantile(draws[:, 0], [0.025, 0.5, 0.975]) == pytest.approx([8, 10, 14], rel=0.03)
    assert (draws[:, 1:] == [3, 5]).all()


def test_the_share_of_draws_is_the_chance_of_being_best() -> None:
    draws = np.random.default_rng(10).normal([0.0, 1.0], 1.0, (DRAWS, 2))
    assert share_of_best(draws)[1] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.01)
