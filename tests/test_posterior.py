"""What true figures may be. Oracles: closed forms, and fields whose truths are known.

The probabilities that a choice states are right as often as they say: of fields that state 85 to
95 %, the share in which the model that is taken is the best.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.results.posterior import (
    Field,
    count_normals,
    draw_true,
    hash_name,
    likely_spreads,
    split_errors,
)

STATED = (0.85, 0.95)


def field_of(figures: NDArray[np.float64], own: NDArray[np.float64]) -> Field:
    return Field(figures, own, 0.0, likely_spreads(figures, own, higher=True))


def state(figures: NDArray[np.float64], own: NDArray[np.float64], name: str) -> float:
    """The probability stated of the leader."""
    draws = draw_true(field_of(figures, own), name)
    return float((draws.argmax(axis=1) == figures.argmax()).mean())


def draw_fields(
    models: int, spreads: list[float], draw: np.random.Generator
) -> Iterator[tuple[int, float, bool]]:
    """Yield fields whose truths have these spreads in turn, in standard errors of the figures.

    The field's number, what is stated of its leader, and whether it is right. Fields without a lead
    that states 85 % even where nothing is learned from the others are counted and left out.
    """
    drawn = 0
    while True:
        scales = np.array(spreads)[np.arange(1_200) % len(spreads), None]
        truths = scales * draw.normal(size=(1_200, models))
        figures = truths + draw.normal(size=truths.shape)
        second, first = np.partition(figures, models - 2, axis=1)[:, -2:].T
        ahead = stats.norm.cdf((first - second) / math.sqrt(2)) > STATED[0]
        for number in np.flatnonzero(ahead).tolist():
            stated = state(figures[number], np.ones(models), f"field {drawn + number}")
            yield drawn + number, stated, figures[number].argmax() == truths[number].argmax()
        drawn += len(figures)


def gather(
    models: int, spreads: list[float], number: int, most: int = 10**9
) -> tuple[list[float], list[bool], int]:
    """What so many fields state that is 85 to 95 %, whether they are right, and of how many."""
    stated, right, drawn = [], [], 0
    for drawn, found, is_right in draw_fields(models, spreads, np.random.default_rng(0)):
        if STATED[0] <= found <= STATED[1]:
            stated.append(found)
            right.append(is_right)
        if len(stated) == number or drawn > most:
            break
    return stated, right, drawn


def test_what_is_stated_holds() -> None:
    stated, right, _ = gather(8, [0.5, 1.0, 3.0], 60)
    # Three points, and two standard errors of sixty fields.
    assert abs(np.mean(right) - np.mean(stated)) < 0.03 + 2 * math.sqrt(0.09 / 60)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("models", [5, 8, 20])
@pytest.mark.parametrize("spreads", [[1.0], [3.0], [0.5, 1.0, 3.0]], ids=str)
def test_what_is_stated_holds_within_three_points(models: int, spreads: list[float]) -> None:
    stated, right, drawn = gather(models, spreads, 1_000)
    found = f"{100 * np.mean(stated):.1f} % stated, {100 * np.mean(right):.1f} % right"
    print(f"{models} models, spread by {spreads}: {found}, of {drawn:,} fields")
    # Three points, and two standard errors of a thousand fields.
    assert abs(np.mean(right) - np.mean(stated)) < 0.03 + 2 * math.sqrt(0.09 / 1_000), found


@pytest.mark.slow
def test_among_near_equals_hardly_ever_is_anything_stated() -> None:
    """Where truths spread by half a standard error, no figures can tell that they do."""
    stated, _, drawn = gather(8, [0.5], 100, most=20_000)
    assert len(stated) < drawn / 2_000


def test_equals_are_equally_likely() -> None:
    draws = draw_true(field_of(np.full(4, 70.0), np.ones(4)), "x")
    assert np.bincount(draws.argmax(axis=1)) / len(draws) == pytest.approx([0.25] * 4, abs=0.03)


def test_far_apart_figures_are_what_they_are() -> None:
    figures = np.array([10.0, 30.0, 50.0, 90.0])
    draws = draw_true(field_of(figures, np.full(4, 0.3)), "x")
    assert draws.mean(axis=0) == pytest.approx(figures, abs=0.05)
    assert draws.std(axis=0) == pytest.approx([0.3] * 4, rel=0.1)


@pytest.mark.parametrize("lead", [20.0, -20.0])
def test_a_model_too_far_away_for_luck_is_where_it_was_measured(lead: float) -> None:
    """And the others are drawn as if it weren't there."""
    others, own, spreads = np.array([34.6, 33.4, 32.5]), 0.42, np.array([0.4, 1.0, 2.0])
    without = draw_true(Field(others, np.full(3, own), 0.0, spreads), "x")
    figures = np.append(others, 34 + lead)
    draws = draw_true(Field(figures, np.full(4, own), 0.0, spreads), "x")
    assert draws[:, :3] == pytest.approx(without)
    assert draws[:, 3].mean() == pytest.approx(34 + lead, abs=0.05)
    assert draws[:, 3].std() == pytest.approx(own, rel=0.1)


def test_near_figures_are_drawn_together_as_by_the_known_spread() -> None:
    """With one spread the draws are those of Efron and Morris."""
    figures, error, spread = np.array([1.0, 0.0, -1.0, 0.5]), 0.8, 0.6
    draws = draw_true(Field(figures, np.full(4, error), 0.0, np.array([spread])), "y")
    pull = spread**2 / (spread**2 + error**2)
    expected = figures.mean() + pull * (figures - figures.mean())
    assert draws.mean(axis=0) == pytest.approx(expected, abs=0.04)
    # What is known of the mean is in each model's variance.
    variance = pull * error**2 + (1 - pull) * error**2 / 4
    assert draws.var(axis=0) == pytest.approx(np.full(4, variance), rel=0.1)


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
def test_the_spread_is_learned_from_many_models(spread: float) -> None:
    draw = np.random.default_rng(1)
    figures = draw.normal(50, math.hypot(spread, 1), 300)
    found = likely_spreads(figures, np.ones(300), higher=True)
    assert found.mean() == pytest.approx(math.sqrt(figures.var(ddof=1) - 1), rel=0.15)


def test_the_spread_is_the_same_whichever_way_is_better() -> None:
    figures = np.random.default_rng(2).normal(0, 2, 9)
    up = likely_spreads(figures, np.ones(9), higher=True)
    assert likely_spreads(-figures, np.ones(9), higher=False) == pytest.approx(up)


def test_a_lucky_leader_is_no_witness_of_the_spread() -> None:
    others = np.linspace(-1, 1, 9)
    near, far = (
        likely_spreads(np.append(others, lead), np.ones(10), higher=True) for lead in (3, 9)
    )
    assert (far <= near).all()


def test_exact_figures_and_a_single_model_have_nothing_to_learn_from() -> None:
    assert likely_spreads(np.array([1.0, 2.0]), np.zeros(2), higher=True).size == 0
    assert likely_spreads(np.array([1.0]), np.ones(1), higher=True).size == 0
    exact = draw_true(Field(np.array([1.0, 2.0]), np.zeros(2)), "z")
    assert (exact == [1.0, 2.0]).all()


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_errors_are_split_into_own_and_shared(m: int) -> None:
    own = np.linspace(0.5, 1, m)
    covariance = np.diag(own**2) + 4.0
    variances = np.diag(covariance)
    differences = variances[:, None] + variances - 2 * covariance
    found, shared = split_errors(variances, differences)
    if m == 1:
        assert (found[0], shared) == (math.hypot(0.5, 2), 0)
    else:
        assert found[0] ** 2 + found[1] ** 2 == pytest.approx(own[0] ** 2 + own[1] ** 2)
        assert shared == pytest.approx(2)


def test_counted_numbers_are_normal_and_have_nothing_to_do_with_each_other() -> None:
    names = [f"{column}:{place}" for column in ("top1", "nll") for place in range(20)]
    numbers = np.stack([count_normals(name, 2_000) for name in names])
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 0.001
    correlations = np.asarray(np.corrcoef(numbers))[np.triu_indices(len(names), 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(2_000)


def test_hashes_are_fnvs() -> None:
    # From the table of test vectors that its authors publish.
    assert [hash_name(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
