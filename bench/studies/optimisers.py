"""Which optimiser learns best when each has its best rate of a grid, chosen on validation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.results.record import RunRecord
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab, Trained
from bench.studies.wording import (
    join_names,
    say_count,
    say_estimate,
    say_gains,
    say_seeds,
)

# SGD without momentum takes the steps of the others at larger rates.
SLOW_START = (0.01, 0.03, 0.1, 0.3)
ADAPTIVE = (0.0003, 0.001, 0.003, 0.01)
GRID: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "SGD": ({"optimizer": "sgd", "momentum": 0.0}, SLOW_START),
    "momentum": ({"optimizer": "momentum"}, (0.003, 0.01, 0.03, 0.1)),
    "AdaGrad": ({"optimizer": "adagrad"}, (0.003, 0.01, 0.03, 0.1)),
    "Adam": ({"optimizer": "adam"}, ADAPTIVE),
    "AdamW": ({"optimizer": "adamw"}, ADAPTIVE),
}


def optimisers(lab: Lab) -> Answer:
    """Which of five optimisers is best, each at its best rate of a stated grid?

    Every rate is tried with one seed; the rate with the highest validation top-1 is trained with
    the others, and only then the test images count. The quick form tries every other rate.
    """
    seeds = (0, 1, 2)
    best: dict[str, Trained] = {}
    tried = []
    for name in GRID:
        rates = _list_rates(name, lab)
        grid = join_names(f"{rate:g}" for rate in rates)
        found = _train_at_best_rate(name, rates, seeds, lab)
        if found is None:
            tried.append(f"{name} diverged at each of {grid}")
            continue
        rate, best[name] = found
        tried.append(f"{name} {rate:g} of {grid}")
    order = sorted(best, key=lambda name: -best[name].accuracy.value)
    if len(order) < 2:
        raise ValueError(f"nothing to compare: {'; '.join(tried)}")
    first, second = best[order[0]], best[order[1]]
    (lead,) = say_gains({order[1]: first.gain_over(second)}).values()
    answer = [
        f"{order[0]} comes first with {say_estimate(first.accuracy, '%')} top-1, "
        f"against {order[1]} {lead}.",
        f"Best rates by validation: {'; '.join(tried)}.",
    ]
    data = first.records[0].data
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{first.records[0].model}, {data.num_train:,} training images of "
            f"{len(data.class_names)} classes of {data.name}, {len(first.records[0].epochs)} "
            f"epochs, one-cycle schedule, weight decay 5e-4, {say_count(len(seeds), 'seed')}."
        ),
        beside=(
            "The flowers tutorial compares optimisers at one rate each; see the study flowers.",
        ),
        plots=(
            Plot(
                title="Test top-1 of each optimiser at its best rate",
                caption=say_seeds(len(seeds)),
                kind="dots",
                x="Top-1 (%)",
                y="Optimiser",
                series=(
                    Series(
                        name="test",
                        points=tuple(point_at(name, best[name].accuracy) for name in order),
                    ),
                ),
            ),
        ),
    )


def _train_at_best_rate(
    name: str, rates: Sequence[float], seeds: tuple[int, ...], lab: Lab
) -> tuple[float, Trained] | None:
    """Return the best rate with which no seed diverges, and all seeds trained at it."""
    config = replace(_request(lab), **GRID[name][0])
    found = {
        rate: lab.train(f"{name} {rate:g}", replace(config, lr=rate), may_diverge=True)
        for rate in rates
    }
    stable = [rate for rate in rates if not found[rate].has_diverged]
    for rate in sorted(stable, key=lambda rate: -validation_top1(found[rate].records[0])):
        others = replace(config, lr=rate, seeds=seeds[1:])
        rest = lab.train(f"{name} {rate:g}, other seeds", others, may_diverge=True)
        if not rest.has_diverged:
            return rate, found[rate].join(rest)
    return None


def _list_rates(name: str, lab: Lab) -> tuple[float, ...]:
    rates = GRID[name][1]
    return rates[1::2] if lab.quick else rates


def validation_top1(record: RunRecord) -> float:
    """Return the top-1 of the last epoch's validation in percent."""
    evaluation = record.epochs[-1].evaluation
    assert evaluation is not None, "every epoch is evaluated"
    return evaluation.top1


def _request(lab: Lab) -> RunConfig:
    return RunConfig(
        models=("lenet5",) if lab.quick else ("alexnet_half_cifar",),
        **use_cifar(lab.data_dir, quick=lab.quick),
        epochs=8 if lab.quick else 15,
        batch_size=64 if lab.quick else 128,
    )
