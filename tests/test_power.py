"""How many seeds it takes. Oracle: models of known truth, trained and tested anew a thousand times.

A model is a chance for each image to be right; an image is drawn from those there are, and a seed
moves all chances alike and draws what is right.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from bench.results.image_interval import top1_difference
from bench.results.power import find_num_seeds, measure_spread, seeds_needed

NUM_IMAGES = 1_000
REPEATS = 400


class Truth(NamedTuple):
    """Two models: the logits of their images, and how far a seed moves them."""

    logits: tuple[NDArray[np.float64], NDArray[np.float64]]
    shift: float

    def seeds(
        self, model: int, number: int, images: NDArray[np.int64], draw: np.random.Generator
    ) -> NDArray[np.bool_]:
        shifts = draw.normal(0, self.shift, (number, 1))
        chances = special.expit(self.logits[model][images] + shifts)
        return draw.random(chances.shape) < chances


def make_truth(gap: float, apart: float, shift: float) -> Truth:
    """Make two models `gap` logits apart, whose images differ by `apart` logits around that."""
    draw = np.random.default_rng(1)
    hardness = draw.normal(0.5, 2.0, NUM_IMAGES)
    differences = draw.normal(0, apart, NUM_IMAGES)
    differences += gap - differences.mean()
    return Truth((hardness + differences, hardness), shift)


def power_of(truth: Truth, num_seeds: int, significance: float) -> float:
    """Return how often the verdict's own test tells the models apart, on images drawn anew."""
    draw = np.random.default_rng(2)
    found = 0
    for _ in range(REPEATS):
        images = draw.integers(0, NUM_IMAGES, NUM_IMAGES)
        a, b = (truth.seeds(model, num_seeds, images, draw) for model in (0, 1))
        found += top1_difference(a, b)[1] < significance
    return found / REPEATS


def answer_of(truth: Truth, significance: float) -> float:
    """Return what is said of so many seeds that their spreads are known well."""
    draw = np.random.default_rng(3)
    images = np.arange(NUM_IMAGES)
    a, b = (truth.seeds(model, 4_000, images, draw) for model in (0, 1))
    return find_num_seeds(measure_spread(a, b), significance)


@pytest.mark.parametrize("significance", [0.05, 0.05 / 28])
@pytest.mark.parametrize(
    ("gap", "apart", "shift"), [(0.3, 0.0, 0.25), (0.5, 0.5, 0.3), (0.35, 0.5, 0.1)]
)
def test_so_many_seeds_tell_two_models_apart_in_four_of_five_cases(
    gap: float, apart: float, shift: float, significance: float
) -> None:
    truth = make_truth(gap, apart, shift)
    seeds = answer_of(truth, significance)
    assert 0.76 <= power_of(truth, int(seeds), significance) <= 0.92
    # A whole number overshoots where seeds are few; half as many are clearly not enough.
    assert power_of(truth, int(seeds) // 2, significance) < 0.72


@pytest.mark.parametrize(("gap", "apart"), [(0.1, 2.0), (0.2, 3.0)])
def test_no_number_of_seeds_makes_up_for_too_few_images(gap: float, apart: float) -> None:
    truth = make_truth(gap, apart, shift=0.02)
    assert answer_of(truth, 0.05) == math.inf
    few, many = (power_of(truth, seeds, 0.05) for seeds in (20, 150))
    assert many < 0.75
    assert many < few + 0.1  # it no longer rises


def test_what_student_alone_would_promise_is_not_enough() -> None:
    """Student's test of the seeds alone knows nothing of the images' draw."""
    truth = make_truth(0.36, 1.6, shift=0.11)
    seeds = answer_of(truth, 0.05)
    draw = np.random.default_rng(4)
    images = np.arange(NUM_IMAGES)
    means = [truth.seeds(model, 4_000, images, draw).mean(axis=1) for model in (0, 1)]
    deviation = math.sqrt((means[0].var() + means[1].var()) / 2)
    effect = abs(means[0].mean() - means[1].mean()) / deviation
    promised = math.ceil(2 * ((1.96 + 0.84) / effect) ** 2)
    assert power_of(truth, promised, 0.05) < 0.6
    assert 0.76 <= power_of(truth, int(seeds), 0.05) <= 0.92


def test_one_seed_cannot_say_how_many_are_needed() -> None:
    draw = np.random.default_rng(5)
    one, two = (draw.random((seeds, 200)) < 0.5 for seeds in (1, 2))
    assert seeds_needed(one, two, 0.05) is None
    assert seeds_needed(two, two, 0.05) is None


def test_seeds_that_did_not_do_are_not_recommended() -> None:
    """By luck a difference may look large enough for fewer seeds than didn't prove it."""
    a, b = np.zeros((2, 4, 400), dtype=bool)
    a[:, :200], b[:, :170] = True, True
    assert seeds_needed(a, b, 0.05) == 5
