"""Which optimiser learns best when each has its best rate of a grid, chosen on validation."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.best_rate import rank_variants, say_rate, train_at_best_rate
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab, Trained
from bench.studies.wording import say_count, say_seeds

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
    found: dict[str, Trained] = {}
    tried = []
    for name, (options, _) in GRID.items():
        rates = _list_rates(name, lab)
        best = train_at_best_rate(lab, name, replace(_request(lab), **options), rates)
        tried.append(say_rate(name, best, rates))
        if best is not None:
            found[name] = best.trained
    order, lead = rank_variants(found, tried)
    seeds = len(found[order[0]].records)
    record = found[order[0]].records[0]
    data = record.data
    return Answer(
        sentences=(lead, f"Best rates by validation: {'; '.join(tried)}."),
        setting=(
            f"{record.model}, {data.num_train:,} training images of "
            f"{len(data.class_names)} classes of {data.name}, {len(record.epochs)} "
            f"epochs, one-cycle schedule, weight decay 5e-4, {say_count(seeds, 'seed')}."
        ),
        beside=(
            "The flowers tutorial compares optimisers at one rate each; see the study flowers.",
        ),
        plots=(
            Plot(
                title="Test top-1 of each optimiser at its best rate",
                caption=say_seeds(seeds),
                kind="dots",
                x="Top-1 (%)",
                y="Optimiser",
                series=(
                    Series(
                        name="test",
                        points=tuple(point_at(name, found[name].accuracy) for name in order),
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
        seeds=(0, 1, 2),
        batch_size=64 if lab.quick else 128,
    )
