"""Statistics of bench/results/verdict.py.

Oracles: scipy.stats (Wilson, McNemar through binomtest, Holm by hand, Welch), a simulated circular
block bootstrap, simulated data of known truth (coverage), and brute force over all pairs (ranks,
Pareto).
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.results import image_interval, interval, verdict
from bench.results.record import Accuracy, Measurement

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def seconds(*ranks: tuple[float, ...], images: int | None = 128) -> Measurement:
    return Measurement(
        metric="train_images_per_second",
        unit="images/s",
        better="higher",
        merge="slowest",
        values=ranks,
        images=images,
    )


def accuracy(right: int, n: int = 10_000) -> Accuracy:
    return Accuracy(
        split="test", num_images=n, num_top1=right, num_top5=n, num_superclass=None, loss=1.0
    )


def simulated_interval(
    values: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    """The same bootstrap by drawing: circular blocks, the last one cut.

    Lower median below, upper above.
    """
    n, draws = len(values), 20_000
    length = max(1, round(n ** (1 / 3)))
    starts = np.random.default_rng(0).integers(0, n, size=(draws, -(-n // length)))
    rows = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :n] % n
    ordered = np.sort(values[rows], axis=1)
    tail = (1 - confidence) / 2
    return (
        float(np.quantile(ordered[:, (n - 1) // 2], tail, method="inverted_cdf")),
        float(np.quantile(ordered[:, n // 2], 1 - tail, method="inverted_cdf")),
    )


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (3_170, 10_000), (1, 5_000)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert image_interval.wilson_interval(right, n) == pytest.approx(
        (100 * expected.low, 100 * expected.high)
    )


def widened(n: int) -> float:
    """Return a normal interval's confidence as wide as Student's with 1.5 freedoms a block."""
    freedom = 1.5 * n / round(n ** (1 / 3)) - 1
    return float(2 * stats.norm.cdf(stats.t.ppf(0.975, freedom)) - 1)


@pytest.mark.parametrize("n", [6, 7, 20, 41, 100, 301])
def test_median_interval_is_the_limit_of_a_simulated_bootstrap(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    simulated = simulated_interval(values, widened(n))
    places = np.searchsorted(np.sort(values), [*interval.median_interval(values), *simulated])
    assert (
        abs(places[:2] - places[2:]).max() <= 1
    )  # one order statistic, where a share lies at the very limit


def test_median_intervals_of_many_series_are_those_of_each() -> None:
    series = np.random.default_rng(1).normal(size=(interval.ROWS_AT_ONCE + 3, 30))
    together = interval.median_intervals(series)
    for row in (0, interval.ROWS_AT_ONCE - 1, interval.ROWS_AT_ONCE, interval.ROWS_AT_ONCE + 2):
        assert tuple(together[row]) == interval.median_interval(series[row])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_p_is_significant_where_the_interval_excludes_0_and_never_beyond_the_sign_test(
    values: list[float],
) -> None:
    low, high = interval.median_interval(np.array(values))
    p = float(interval.median_p_values(np.array(values))[0])
    least = stats.binomtest(0, len(values)).pvalue
    assert p >= least - 1e-15
    if max(abs(p - 0.05), abs(least - p)) > 1e-6 and len(values) >= interval.MIN_VALUES:
        assert (p < 0.05) == (low > 0 or high < 0)


@pytest.mark.parametrize("num_pairs", [1, 2, 28, 780])
def test_the_rounds_needed_are_the_fewest_that_can_prove_anything(num_pairs: int) -> None:
    n = interval.rounds_needed(num_pairs)
    assert stats.binomtest(0, n).pvalue * num_pairs <= 0.05
    assert n == interval.MIN_VALUES or stats.binomtest(0, n - 1).pvalue * num_pairs > 0.05


def test_no_side_is_taken_where_the_adjusted_p_is_not_significant() -> None:
    assert verdict.verdict(1.1, 1.3, p=0.049) == "faster"
    assert verdict.verdict(1.1, 1.3, p=0.051) == "undecided"
    assert verdict.verdict(0.99, 1.01, p=1.0) == "same"


def test_false_claims_are_those_of_a_twin_that_is_not_one() -> None:
    noise = np.random.default_rng(7).lognormal(sigma=0.01, size=(2, 90))
    own, twin = (seconds(tuple(row)) for row in noise)
    slower = seconds(tuple(1.2 * noise[1]))
    assert verdict.false_claims(slower, own) == (61, 61)
    assert verdict.false_claims(twin, own)[0] <= 6
    assert verdict.false_claims(seconds((1.0,) * 9), seconds((1.0,) * 9)) == (0, 0)


def test_too_few_values_give_no_interval_and_no_verdict() -> None:
    few = seconds((1.0,) * (interval.MIN_VALUES - 1))
    assert interval.median_interval(np.ones(interval.MIN_VALUES - 1)) == (-math.inf, math.inf)
    assert verdict.rate_interval(few) == (0.0, math.inf)
    _, low, high = verdict.speed_ratio(few, few)
    assert verdict.verdict(low, high) == "undecided"


def test_rate_interval_is_images_over_the_interval_of_the_seconds() -> None:
    values = tuple(np.random.default_rng(3).gamma(9, size=50))
    low, high = interval.median_interval(np.array(values))
    assert verdict.rate_interval(seconds(values)) == pytest.approx((128 / high, 128 / low))
    assert verdict.rate_interval(seconds(values, images=None)) == (low, high)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.2, 5), st.integers(6, 60))
def test_speed_ratio_finds_a_known_factor_under_shared_noise(factor: float, n: int) -> None:
    noise = np.random.default_rng(n).lognormal(sigma=1, size=n)
    slow, fast = seconds(tuple(noise)), seconds(tuple(noise / factor))
    assert verdict.speed_ratio(fast, slow) == pytest.approx((factor, factor, factor))
    ratio, low, high = verdict.speed_ratio(slow, fast)
    assert (1 / ratio, 1 / high, 1 / low) == pytest.approx((factor, factor, factor))


def test_speed_ratio_counts_the_images_of_each_side() -> None:
    assert verdict.speed_ratio(seconds((1.0,) * 9, images=256), seconds((1.0,) * 9))[
        0
    ] == pytest.approx(2)


def test_values_that_do_not_pair_are_refused() -> None:
    with pytest.raises(
        ValueError, match="3 values of train_images_per_second can't be paired with 2"
    ):
        verdict.speed_ratio(seconds((1.0, 2.0, 3.0)), seconds((1.0, 2.0)))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.99, 1.01, "same"),
        (1.001, 1.019, "same"),
        (1.01, 1.05, "faster"),
        (0.9, 0.99, "slower"),
        (0.9, 1.1, "undecided"),
        (1.0, 1.05, "undecided"),
        (0.0, math.inf, "undecided"),
    ],
)
def test_verdict_reads_an_interval(low: float, high: float, expected: str) -> None:
    assert verdict.verdict(low, high) == expected


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=30))
def test_ranks_count_who_lies_wholly_above(spans: list[tuple[int, int]]) -> None:
    intervals = [(float(low), float(low + width)) for low, width in spans]
    expected = [1 + sum(low > high for low, _ in intervals) for _, high in intervals]
    assert verdict.rank_with_ties(intervals) == expected


@given(POINTS)
def test_pareto_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    def beaten(x: int, y: int) -> bool:
        return any(a >= x and b >= y and (a > x or b > y) for a, b in points)

    assert verdict.pareto(points) == [not beaten(x, y) for x, y in points]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (1, 12), (40, 61)])
def test_mcnemar_is_the_binomial_test_of_the_images_that_differ(b: int, c: int) -> None:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert image_interval.mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))


def test_holm_by_hand() -> None:
    # Holm (1979): 4 x .01, 3 x .02 raised to no less, 2 x .03, 1 x .04 raised to no less
    assert interval.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert interval.holm([]) == []


def test_top1_of_one_seed_is_wilsons() -> None:
    assert image_interval.top1_estimate([accuracy(3_170)]) == pytest.approx(
        (31.7, *image_interval.wilson_interval(3_170, 10_000))
    )


def test_top1_covers_the_truth_over_images_and_seeds() -> None:
    rng, truth, repeats, covered = np.random.default_rng(4), 0.4, 600, 0
    for _ in range(repeats):
        shift = rng.normal(
            0, 0.005
        )  # the images that were drawn are easier or harder for every seed alike
        chances = truth + shift + rng.normal(0, 0.01, size=4)
        _, low, high = image_interval.top1_estimate([accuracy(round(10_000 * p)) for p in chances])
        covered += low <= 100 * truth <= high
    assert covered >= 0.92 * repeats


def test_difference_of_one_seed_each_is_mcnemars() -> None:
    a, b = np.zeros((1, 100), dtype=bool), np.zeros((1, 100), dtype=bool)
    a[:, :60], b[:, 50:75] = True, True
    (points, low, high), p = image_interval.top1_difference(a, b)
    assert (points, p) == (pytest.approx(35.0), image_interval.mcnemar(50, 15))
    assert low < points < high


@pytest.mark.parametrize(
    ("only_a", "only_b", "n"), [(50, 15, 100), (700, 640, 10_000), (25, 0, 200)]
)
def test_the_paired_bootstrap_is_the_limit_of_scipys(only_a: int, only_b: int, n: int) -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [only_a, only_b, n - only_a - only_b])
    drawn = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=500,
    ).confidence_interval
    low, high = image_interval.paired_bootstrap(only_a, only_b, n)
    assert (low, high) == pytest.approx((100 * drawn.low, 100 * drawn.high), abs=100 * 2 / n)


def test_difference_over_seeds_alone_is_close_to_welchs_test() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.random((6, 200_000)) < rng.normal(p, 0.01, size=(6, 1)) for p in (0.50, 0.51))
    (points, low, high), p = image_interval.top1_difference(a, b)
    welch = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    expected = welch.confidence_interval()
    assert points == pytest.approx(100 * float(a.mean() - b.mean()))
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.1)
    assert p == pytest.approx(float(welch.pvalue), abs=0.02)


def test_difference_claims_no_winner_between_equals() -> None:
    rng, claims = np.random.default_rng(6), 0
    for _ in range(300):
        easy = rng.random(2_000)
        a, b = ((rng.random((3, 2_000)) < easy) for _ in range(2))
        claims += image_interval.top1_difference(a, b)[1] < 0.05
    assert claims <= stats.binom.ppf(0.999, 300, 0.05)


def test_models_that_answer_alike_do_not_differ() -> None:
    same = np.ones((2, 50), dtype=bool)
    assert image_interval.top1_difference(same, same) == ((0.0, 0.0, 0.0), 1.0)


def test_a_ratio_of_pairs_is_scipys_interval_of_the_logarithms() -> None:
    above, below = [6.1, 5.2, 8.0], [1.0, 1.1, 0.9]
    logs = np.log(np.array(above) / np.array(below))
    found = stats.ttest_1samp(logs, 0).confidence_interval(interval.CONFIDENCE)
    expected = np.exp([logs.mean(), found.low, found.high])
    np.testing.assert_allclose(interval.ratio_estimate(above, below), expected)
    assert interval.ratio_estimate([3.0], [2.0]) == (pytest.approx(1.5), 0.0, math.inf)
