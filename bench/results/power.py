"""How many seeds it takes to tell two models apart: the power of the verdict's own test.

numpy and scipy, no torch.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.results.interval import pooled_freedom, student_quantile

POWER = 0.8
MOST_SEEDS = 1_000
NUM_DRAWS = 10_000  # the power is known to half a point


@dataclass(frozen=True)
class Spread:
    """What is known of two models on the same images; accuracies are shares, not percent.

    `each` is the variance of an image's true difference, `seen` what a seed of both models adds to
    that variance since it sees the image once, `seeds` each model's variance between its seeds.
    """

    difference: float
    num_images: int
    each: float
    seen: float
    seeds: tuple[float, float]


def seeds_needed(a: NDArray[np.bool_], b: NDArray[np.bool_], significance: float) -> float | None:
    """Return how many seeds of each model would prove their difference in four of five cases.

    `a` and `b` are (seeds, n), right or not on the same n images. None with one seed of either, or
    without a difference.
    """
    if min(len(a), len(b)) < 2:
        return None
    spread = measure_spread(a, b)
    if not spread.difference:
        return None
    # As many as there are didn't do.
    return find_num_seeds(spread, significance, least=max(len(a), len(b)) + 1)


def find_num_seeds(spread: Spread, significance: float, *, least: int = 2) -> float:
    """Return from how many seeds of each model on the verdict's test has the POWER.

    The test is `top1_difference`, at new images and new seeds. More seeds leave the images as few
    as they are: infinite where their variance alone forbids a proof, or beyond MOST_SEEDS.
    """
    if _power_of_images(spread, significance) < POWER:
        return math.inf

    def is_enough(seeds: int) -> bool:
        return _simulate_power(spread, seeds, significance) >= POWER

    tried = range(least, MOST_SEEDS + 1)
    place = bisect_left(tried, True, key=is_enough)
    return tried[place] if place < len(tried) else math.inf


def measure_spread(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Spread:
    """Return how far two models, of two seeds or more each, are apart and why that may vary."""
    within = [float(rows.var(axis=0, ddof=1).mean()) for rows in (a, b)]
    differences = a.mean(axis=0) - b.mean(axis=0)
    # A mean over few seeds varies from image to image by what these seeds happened to say, too.
    by_chance = within[0] / len(a) + within[1] / len(b)
    return Spread(
        difference=abs(float(differences.mean())),
        num_images=a.shape[1],
        each=max(0.0, float(differences.var(ddof=1)) - by_chance),
        seen=sum(within),
        seeds=(float(a.mean(axis=1).var(ddof=1)), float(b.mean(axis=1).var(ddof=1))),
    )


def _power_of_images(spread: Spread, significance: float) -> float:
    """Return the power that infinitely many seeds would have."""
    if not spread.each:
        return 1.0
    error = math.sqrt(spread.each / spread.num_images)
    reach = student_quantile(1 - significance, spread.num_images - 1)
    return float(special.ndtr(spread.difference / error - reach))


def _simulate_power(spread: Spread, num_seeds: int, significance: float) -> float:
    """Return how often the test proves the difference with so many seeds of each model."""
    of_seeds = sum(spread.seeds) / num_seeds
    # What the seeds see of the images by chance is in the variance between the seeds.
    deviation = math.sqrt(spread.each / spread.num_images + of_seeds)
    if not deviation:
        return 1.0
    draw = np.random.default_rng(num_seeds)
    differences = draw.normal(spread.difference, deviation, NUM_DRAWS)
    of_images = (spread.each + spread.seen / num_seeds) / spread.num_images
    parts = [_draw_variances(of_images, spread.num_images - 1, draw)]
    parts += [_draw_variances(own / num_seeds, num_seeds - 1, draw) for own in spread.seeds]
    errors = np.sqrt(sum(variances for variances, _ in parts))
    p_values = 2 * special.stdtr(pooled_freedom(parts), -np.abs(differences) / errors)
    return float((p_values < significance).mean())


def _draw_variances(
    truth: float, freedom: int, draw: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Return estimates of a variance: chi-squared numbers of its degrees of freedom."""
    return truth * draw.chisquare(freedom, NUM_DRAWS) / freedom, float(freedom)
