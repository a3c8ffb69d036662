"""Which model to take under limits.

Oracles: normal distributions in closed form, and every draw looked at by a loop.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.results.choice import (
    Candidates,
    Source,
    choose,
    compare,
    share_of_best,
    share_on_front,
)
from bench.results.limit import Limit
from bench.results.posterior import Field


def column(
    key: str,
    figures: list[float],
    error: float,
    *,
    higher: bool = True,
    is_log: bool = False,
    source: Source = "images",
) -> Candidates:
    values = np.array(figures)
    known = ~np.isnan(values)
    own = np.full(int(known.sum()), error)
    return Candidates(key, known, Field(values[known], own), higher, is_log, source)


TOP1 = column("top1", [80.0, 79.0, 70.0], 0.5)


def test_the_chance_is_that_of_a_normal_difference() -> None:
    choice = choose({"top1": TOP1}, "top1")
    expected = stats.norm.cdf(1 / (0.5 * math.sqrt(2)))
    assert choice.chances == pytest.approx([expected, 1 - expected, 0], abs=0.025)
    assert (choice.taken, choice.runner_up) == (0, 1)
    assert choice.behind is not None
    half = 1.96 * 0.5 * math.sqrt(2)
    assert choice.behind == pytest.approx((1.0, 1 - half, 1 + half), abs=0.12)


def test_a_limit_leaves_the_chance_that_it_is_kept() -> None:
    latency = column("latency", [5.0, 3.0, 9.0], 0.5, higher=False, source="rounds")
    columns = {"top1": TOP1, "latency": latency}
    kept = choose(columns, "top1", [Limit("latency", "<=", 5.5)])
    # The first is the best where it keeps the limit and is ahead; the last never keeps it.
    ahead = stats.norm.cdf(1 / (0.5 * math.sqrt(2)))
    keeps = stats.norm.cdf(1.0)
    expected = [keeps * ahead, 1 - keeps * ahead, 0]
    assert kept.chances == pytest.approx(expected, abs=0.03)
    assert kept.taken == 0
    assert kept.binding is None  # without it the same one would be taken


def test_a_model_over_the_limit_is_not_taken_however_likely() -> None:
    latency = column("latency", [5.2, 3.0, 9.0], 0.5, higher=False, source="rounds")
    far = column("top1", [80.0, 60.0, 50.0], 0.5)
    choice = choose({"top1": far, "latency": latency}, "top1", [Limit("latency", "<=", 5.0)])
    assert choice.taken == 1
    assert choice.runner_up == 0
    assert choice.behind is not None
    assert choice.behind.value == pytest.approx(-20)  # it is ahead
    assert choice.binding is not None
    assert choice.binding.model == 0
    assert choice.binding.behind.value == pytest.approx(-20)
    # Whether it keeps the limit is the doubt: rounds would tell.
    assert choice.doubt == "rounds"


def test_the_limit_that_costs_most_binds() -> None:
    small = column("size", [3.0, 2.0, 1.0], 0.0, higher=False, source="none")
    fast = column("time", [1.0, 9.0, 1.0], 0.0, higher=False, source="none")
    columns = {"top1": TOP1, "size": small, "time": fast}
    choice = choose(columns, "top1", [Limit("size", "<=", 1.5), Limit("time", "<=", 5)])
    assert choice.taken == 2
    assert choice.binding is not None
    assert (choice.binding.limit.column, choice.binding.model) == ("size", 0)


def test_none_within_the_limits_gives_the_nearest_miss_of_each() -> None:
    size = column("size", [300.0, 120.0, math.nan], 0.0, higher=False, source="none")
    choice = choose({"top1": TOP1, "size": size}, "top1", [Limit("size", "<=", 100.0)])
    assert choice.taken is None
    assert [miss.model for miss in choice.misses] == [1, 0, 2]
    assert [miss.share for miss in choice.misses] == pytest.approx([0.2, 2.0, math.inf])


def test_logarithms_compare_as_ratios() -> None:
    rates = column("rate", np.log([300.0, 200.0]).tolist(), 0.1, is_log=True)
    ratio = compare(rates, 0, 1)
    half = math.exp(1.96 * 0.1 * math.sqrt(2))
    expected = (2 / 3, 2 / 3 / half, 2 / 3 * half)
    assert ratio == pytest.approx(expected, rel=0.05)


def test_exact_figures_are_certain_and_ties_share() -> None:
    exact = column("size", [1.0, 1.0, 2.0], 0.0, higher=False, source="none")
    choice = choose({"size": exact}, "size")
    assert choice.chances.tolist() == [0.5, 0.5, 0.0]
    assert (choice.taken, choice.runner_up, choice.is_exact) == (0, 1, True)


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from(["<=", ">="]))
def test_shares_are_those_of_a_loop_over_the_draws(seed: int, models: int, sign: str) -> None:
    draw = np.random.default_rng(seed)
    own = np.where(draw.random(models) < 0.2, np.nan, draw.normal(0, 1, models))
    own[0] = 0.0
    wanted = column("a", own.tolist(), 0.7)
    other = column("b", draw.normal(0, 1, models).tolist(), 0.4)
    limit = Limit("b", sign, 0.1)
    shares = share_of_best({"a": wanted, "b": other}, wanted, [limit])
    counts = np.zeros(models)
    for figures, bounded in zip(wanted.draws, other.draws, strict=True):
        keeps = [
            place
            for place in range(models)
            if not math.isnan(figures[place])
            and (bounded[place] <= 0.1 if sign == "<=" else bounded[place] >= 0.1)
        ]
        if keeps:
            counts[max(keeps, key=lambda place: figures[place])] += 1
    assert shares == pytest.approx(counts / len(wanted.draws))


def test_the_chance_to_be_on_the_front_is_that_of_two_normal_differences() -> None:
    """The second of two is beaten where it is behind in both columns."""
    accuracy = column("top1", [80.0, 79.5, math.nan], 0.5)
    latency = column("latency", [3.0, 3.4, 1.0], 0.3, higher=False)
    behind = stats.norm.cdf(0.5 / (0.5 * math.sqrt(2))) * stats.norm.cdf(0.4 / (0.3 * math.sqrt(2)))
    ahead = stats.norm.sf(0.5 / (0.5 * math.sqrt(2))) * stats.norm.sf(0.4 / (0.3 * math.sqrt(2)))
    found = share_on_front(accuracy, latency)
    assert found[:2] == pytest.approx([1 - ahead, 1 - behind], abs=0.03)
    assert math.isnan(found[2])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8),
    st.booleans(),
)
def test_without_errors_the_front_is_that_of_the_figures(
    points: list[tuple[int, int]], higher: bool
) -> None:
    first = column("top1", [float(x) for x, _ in points], 0.0)
    second = column("cost", [float(y) for _, y in points], 0.0, higher=higher)
    sign = 1 if higher else -1

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        no_worse = a[0] >= b[0] and sign * a[1] >= sign * b[1]
        return no_worse and a != b

    expected = [float(not any(beats(other, point) for other in points)) for point in points]
    assert share_on_front(first, second).tolist() == expected
