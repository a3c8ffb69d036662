"""A variant at the best rate of a grid, chosen on validation: none is judged at another's rate."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.request.config import RunConfig
from bench.results.record import RunRecord
from bench.studies.lab import Lab, Trained


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


def _validation_top1(record: RunRecord) -> float:
    evaluation = record.epochs[-1].evaluation
    assert evaluation is not None, "every epoch is evaluated"
    return evaluation.top1
