"""What models' true figures may be, given measured ones: whoever leads has had luck. numpy, scipy.

The best of many measured figures is on average too good (the winner's curse), and the share of
bootstrap draws in which it wins is too large: among eight models whose true figures differ by a
standard error it is right in 76 of 100 cases in which it says 90 %. So true figures are taken to be
drawn from a normal distribution, and measured ones from normal distributions around them (Efron and
Morris 1975, "Data Analysis Using Stein's Estimator and its Generalizations"). How widely true
figures spread is learned from the models behind the leader, given that they are behind it: were the
leader asked too, one that is far ahead by luck would be its own witness. One that is farther ahead
than any luck is of another kind than the others: its figure stands as measured, and tells nothing
of theirs. A simulation in tests/test_posterior.py shows how far what is stated so can be trusted.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

NUM_DRAWS = 2_000  # a probability is known to 1.1 points
NUM_SPREADS = 16
FAR = 6.0  # standard errors of what a model's figure is expected to be from the others'
# Of the grids over which the spread of true figures, and their mean, are integrated.
NUM_RATIOS, LEAST_RATIO = 96, 1e-3
NUM_MEANS, REACH_BELOW, REACH_ABOVE = 48, 6.0, 15.0


@dataclass(frozen=True)
class Field:
    """Measured figures of models in one quantity, and what is known of their errors.

    `figures`, and `own`, the standard errors of what each model has to itself, are (m,); `shared`
    is the standard error of what all have in common, which tells none from another. `spreads` are
    equally likely standard deviations of the true figures; none where there is nothing to learn
    them from.
    """

    figures: Vector
    own: Vector
    shared: float = 0.0
    spreads: Vector = field(default_factory=lambda: np.empty(0))


def split_errors(variances: Vector, of_differences: Matrix) -> tuple[Vector, float]:
    """Return the standard errors that models have to themselves (m,), and the one that they share.

    From the variances of their figures (m,) and of all differences (m, m), of which the sum of two
    models' own variances is the nearest by least squares.
    """
    m = len(variances)
    if m == 1:
        return np.sqrt(variances), 0.0
    if m == 2:
        own = np.full(2, of_differences[0, 1] / 2)
    else:
        sums = of_differences.sum(axis=1)
        own = (sums - sums.sum() / (2 * (m - 1))) / (m - 2)
    # Of models whose errors are nearly those of all others little is left, but never less than 0.
    own = np.maximum(own, 0.0)
    shared = float(np.sqrt(max(0.0, (variances - own).mean())))
    return np.sqrt(own), shared


def likely_spreads(figures: Vector, own: Vector, *, higher: bool) -> Vector:
    """Return NUM_SPREADS equally likely standard deviations of the true figures.

    `figures` (m,) with standard errors `own` (m,); `higher` says where the leader is. With s the
    standard error and t the deviation, the fourth root of s^2 / (s^2 + t^2) is uniform beforehand,
    and the mean has no preferred place below the leader. The likelihood is that of the others'
    figures, given that they are behind the leader's. Empty for one model, or without errors.
    """
    error = float(np.sqrt((own**2).mean()))
    if len(figures) < 2 or not error:
        return np.empty(0)
    # In units of the error, the leader first.
    ordered = np.sort(figures / error if higher else -figures / error)[::-1]
    leader, others = ordered[0], ordered[1:]
    n, centre = len(others), float(others.mean())
    step = -np.log(LEAST_RATIO) / NUM_RATIOS
    ratios = np.exp(-step * (np.arange(NUM_RATIOS) + 0.5))
    deviations = 1 / ratios  # of measured figures
    reach = deviations / np.sqrt(n)
    low = centre - REACH_BELOW * reach
    high = np.minimum(leader, centre + REACH_ABOVE * reach)
    places = (np.arange(NUM_MEANS) + 0.5) / NUM_MEANS
    means = low + (high - low) * places[:, None]
    logs = -n / 2 * ((means - centre) / deviations) ** 2
    logs -= n * special.log_ndtr((leader - means) / deviations)
    likelihood = special.logsumexp(logs, axis=0) + np.log(high - low)
    likelihood -= n * np.log(deviations) + ((others - centre) ** 2).sum() / 2 * ratios**2
    # The steps are of equal length in the ratio's logarithm, not in its root.
    weights = np.exp(likelihood - likelihood.max()) * np.sqrt(ratios)
    below = np.cumsum(weights) / weights.sum()
    chances = (np.arange(NUM_SPREADS) + 0.5) / NUM_SPREADS
    found = np.interp(chances, below, deviations)
    return np.asarray(error * np.sqrt(found**2 - 1))


def draw_true(of: Field, name: str, num_draws: int = NUM_DRAWS) -> Matrix:
    """Draw true figures (num_draws, m), the same ones for the same figures and `name`.

    The page's script draws them as well, from the same counted numbers (`draws.js`).
    """
    draws = np.empty((num_draws, len(of.figures)))
    common = of.shared * count_normals(f"{name}:shared", num_draws)
    variances = of.own**2
    # Without a spread a measured figure is all that is known of a true one.
    pull, centre = np.ones((1, len(variances))), np.zeros(1)
    if of.spreads.size:
        precisions = 1 / (of.spreads[:, None] ** 2 + variances)
        is_far = find_far(of.figures, precisions)
        pull = np.where(is_far, 1.0, of.spreads[:, None] ** 2 * precisions)
        precisions[is_far] = 0
        totals = precisions.sum(axis=1)
        centre = (precisions @ of.figures) / totals
        turns = np.arange(num_draws) % len(of.spreads)
        pull, centre = pull[turns], centre[turns]
        centre = centre + count_normals(f"{name}:mean", num_draws) / np.sqrt(totals[turns])
    for place in range(len(of.figures)):
        toward = pull[:, place]
        noise = np.sqrt(toward * variances[place]) * count_normals(f"{name}:{place}", num_draws)
        draws[:, place] = toward * of.figures[place] + (1 - toward) * centre + noise
    return draws + common[:, None]


def find_far(figures: Vector, precisions: Matrix) -> NDArray[np.bool_]:
    """Say which model, if any, is farther from the mean of the others than luck brings it.

    `figures` (m,) of at least two models; `precisions` (s, m), one over the variance of each figure
    around the mean of all, row by row for as many spreads. One model a row at most.
    """
    of_others = precisions.sum(axis=1, keepdims=True) - precisions
    means = ((precisions @ figures)[:, None] - precisions * figures) / of_others
    away = np.abs(figures - means) / np.sqrt(1 / precisions + 1 / of_others)
    farthest = np.arange(len(figures)) == away.argmax(axis=1)[:, None]
    return np.asarray(farthest & (away > FAR))


def count_normals(name: str, number: int) -> Vector:
    """Return standard normal numbers (number,) that depend on nothing but `name`, which is ASCII.

    Of a counter hashed by mulberry32 (Ettinger 2017), by the polar form of Box and Muller (1958).
    """
    number_of_pairs = -(-number // 2)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^32
        counted = np.arange(1, 2 * number_of_pairs + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
        state = counted + np.uint32(hash_name(name))
        state = (state ^ (state >> np.uint32(15))) * (state | np.uint32(1))
        state ^= state + (state ^ (state >> np.uint32(7))) * (state | np.uint32(61))
        state ^= state >> np.uint32(14)
    uniform = (state + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(uniform[::2])), 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return np.asarray(pairs.reshape(-1)[:number])


def hash_name(name: str) -> int:
    """Return the 32-bit hash of an ASCII name (Fowler, Noll and Vo's FNV-1a)."""
    state = 0x811C9DC5
    for byte in name.encode("ascii"):
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state
