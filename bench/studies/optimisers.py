"""Which optimiser learns best when each has its best rate of a grid, chosen on validation."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.best_rate import train_at_best_rate
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

    The rate is chosen on validation. The quick form tries every other rate.
    """
    seeds = (0, 1, 2)
    best: dict[str, Trained] = {}
    tried = []
    for name in GRID:
        rates = _list_rates(name, lab)
        grid = join_names(f"{rate:g}" for rate in rates)
        config = replace(_request(lab), **GRID[name][0], seeds=seeds)
        found = train_at_best_rate(lab, name, config, rates)
        if found is None:
            tried.append(f"{name} diverged at each of {grid}")
            continue
        best[name] = found.trained
        tried.append(f"{name} {found.rate:g} of {grid}")
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


def _list_rates(name: str, lab: Lab) -> tuple[float, ...]:
    rates = GRID[name][1]
    return rates[1::2] if lab.quick else rates


def _request(lab: Lab) -> RunConfig:
    return RunConfig(
        models=("lenet5",) if lab.quick else ("alexnet_half_cifar",),
        **use_cifar(lab.data_dir, quick=lab.quick),
        epochs=8 if lab.quick else 15,
        batch_size=64 if lab.quick else 128,
    )
