"""Do 95 % intervals hold the truth in 95 % of all cases?

Oracle: simulated machines on which one model is 7 % faster.

`./launch.sh test -m slow tests/test_coverage.py` draws 20 times as many.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.results.interval import median_intervals
from bench.results.verdict import verdict

TRUTH = np.log(1.07)
OWN = 0.05  # spread of a visit's own time, in logarithms
Machine = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]


def quiet(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    return np.zeros(shape)


def drifting(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Up to 30 % faster or slower from the first visit to the last."""
    return rng.uniform(-0.3, 0.3, size=(shape[0], 1)) * np.linspace(0, 1, shape[1])


def bursting(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Now and then half as fast, for about ten visits."""
    on = np.zeros(shape, dtype=bool)
    for i in range(1, shape[1]):
        on[:, i] = rng.random(shape[0]) < np.where(on[:, i - 1], 0.9, 0.05)
    return 0.7 * on * rng.random(shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Single visits that take a multiple of the usual time.

    The mean of what is added has no variance.
    """
    return 0.03 * np.abs(rng.standard_t(1.5, size=shape))


def autocorrelated(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """A speed that wanders, and is 90 % of what it was at the visit before."""
    state = rng.normal(0, 0.11, size=shape)
    for i in range(1, shape[1]):
        state[:, i] = 0.9 * state[:, i - 1] + 0.44 * state[:, i]
    return state


def remembering(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Rounds that remember the one before.

    Each of a round's two visits goes on from its like of the last round.
    """
    state = rng.normal(0, 0.04, size=shape)
    for i in range(2, shape[1]):
        state[:, i] += 0.4 * state[:, i - 2]
    return state


MACHINES = (quiet, drifting, bursting, heavy_tailed, autocorrelated, remembering)


def log_ratios(machine: Machine, repeats: int, rounds: int, seed: int) -> NDArray[np.float64]:
    """Two models in turn, in an order drawn afresh each round.

    (repeats, rounds) logarithms of their ratio.
    """
    rng = np.random.default_rng(seed)
    state = machine(rng, (repeats, 2 * rounds)).reshape(repeats, rounds, 2)
    state = np.where(rng.random((repeats, rounds, 1)) < 0.5, state, state[..., ::-1])
    own = rng.normal(0, OWN, size=(2, repeats, rounds))
    return TRUTH + (state[..., 0] + own[0]) - (state[..., 1] + own[1])


def coverage(machine: Machine, repeats: int, rounds: int) -> float:
    low, high = median_intervals(log_ratios(machine, repeats, rounds, seed=rounds)).T
    return float(((low <= TRUTH) & (high >= TRUTH)).mean())


@pytest.mark.parametrize("rounds", [6, 14, 30, 80, 200])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_the_intervals_hold_the_truth_in_92_to_98_percent(machine: Machine, rounds: int) -> None:
    assert 0.92 <= coverage(machine, 1_500, rounds) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [6, 8, 10, 14, 20, 30, 45, 80, 120, 200, 300])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_the_intervals_hold_the_truth_in_92_to_98_percent_of_many(
    machine: Machine, rounds: int
) -> None:
    assert 0.92 <= coverage(machine, 30_000 if rounds < 100 else 10_000, rounds) <= 0.98


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_a_model_against_itself_wins_in_at_most_one_case_of_twenty(machine: Machine) -> None:
    limits = np.exp(median_intervals(log_ratios(machine, 1_000, 60, seed=1) - TRUTH)).tolist()
    claims = sum(verdict(low, high) in ("faster", "slower") for low, high in limits)
    assert claims <= 64  # the 97.5 % point of the binomial distribution of 1,000 draws at 5 %
