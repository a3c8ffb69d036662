"""A variant at the best rate of a grid, chosen on validation: none is judged at another's rate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.request.config import RunConfig
from bench.results.record import RunRecord
from bench.studies.lab import Lab, Trained
from bench.studies.wording import join_names, say_estimate, say_gains


class AtBestRate(NamedTuple):
    """A variant's cells at the rate that was chosen for it."""

    rate: float
    trained: Trained


def train_at_best_rate(
    lab: Lab, name: str, config: RunConfig, rates: Sequence[float]
) -> AtBestRate | None:
    """Return a variant at the best rate with which no seed diverges, or None where each does.

    Every rate is tried with the first seed; the rate with the highest validation top-1 after the
    last epoch is trained with the other seeds, and only then the test images count.
    """
    first, *others = config.seeds
    found = {
        rate: lab.train(
            f"{name} {rate:g}", replace(config, lr=rate, seeds=(first,)), may_diverge=True
        )
        for rate in rates
    }
    stable = [rate for rate in rates if not found[rate].has_diverged]
    for rate in sorted(stable, key=lambda rate: -_validation_top1(found[rate].records[0])):
        if not others:
            return AtBestRate(rate, found[rate])
        rest = lab.train(
            f"{name} {rate:g}, other seeds",
            replace(config, lr=rate, seeds=tuple(others)),
            may_diverge=True,
        )
        if not rest.has_diverged:
            return AtBestRate(rate, found[rate].join(rest))
    return None


def say_rate(name: str, best: AtBestRate | None, rates: Sequence[float]) -> str:
    """Say which rate of a grid was the best, or that there is none."""
    grid = join_names(f"{rate:g}" for rate in rates)
    if best is None:
        return f"{name} diverged at each of {grid}"
    return f"{name} {best.rate:g} of {grid}"


def rank_variants(found: Mapping[str, Trained], tried: Sequence[str]) -> tuple[list[str], str]:
    """Return the variants' names by test top-1, the best first, and its lead in words.

    ValueError, which says what was tried, where there are fewer than two.
    """
    order = sorted(found, key=lambda name: -found[name].accuracy.value)
    if len(order) < 2:
        raise ValueError(f"nothing to compare: {'; '.join(tried)}")
    first, second = order[:2]
    (lead,) = say_gains({second: found[first].gain_over(found[second])}).values()
    top = say_estimate(found[first].accuracy, "%")
    return order, f"{first} comes first with {top} top-1, against {second} {lead}."


def _validation_top1(record: RunRecord) -> float:
    evaluation = record.epochs[-1].evaluation
    assert evaluation is not None, "every epoch is evaluated"
    return evaluation.top1
