"""The flowers tutorial's training of half an AlexNet, with four optimisers, class by class."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.request.recipe import tutorial
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.image_set import use_flowers
from bench.studies.lab import Lab, Trained
from bench.studies.wording import (
    join_names,
    say_count,
    say_estimate,
    say_gains,
    say_seeds,
)

OPTIMISERS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", "momentum": 0.0, "lr": 0.03},
    "momentum": {"optimizer": "momentum", "lr": 0.01},
    "AdaGrad": {"optimizer": "adagrad", "lr": 0.01},
    "Adam": {"optimizer": "adam", "lr": 2e-4},
}


def flowers(lab: Lab) -> Answer:
    """How good is half an AlexNet on five kinds of flowers after 15 epochs?

    224 px, a tenth of the photographs as the test, four optimisers. The quick form has 80 images of
    a class and 3 epochs.
    """
    found = {
        name: lab.train(name, replace(_request(lab), **options))
        for name, options in OPTIMISERS.items()
    }
    order = sorted(found, key=lambda name: -found[name].accuracy.value)
    first, second = found[order[0]], found[order[1]]
    (lead,) = say_gains({order[1]: first.gain_over(second)}).values()
    answer = [
        f"{order[0]} comes first with {say_estimate(first.accuracy, '%')} top-1, "
        f"against {order[1]} {lead}.",
        f"All: {join_names(f'{name} {found[name].accuracy.value:.1f} %' for name in order)}.",
    ]
    record = first.records[0]
    rates = join_names(f"{name} {options['lr']:g}" for name, options in OPTIMISERS.items())
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"alexnet_half at 224 px, {record.data.num_train:,} training and "
            f"{record.data.num_test} test photographs, {len(record.epochs)} epochs, batches of "
            f"{record.batch_size}, mirrored, constant rates "
            f"({rates}), "
            f"{say_count(len(first.records), 'seed')}."
        ),
        beside=("The flowers tutorial: about 67 % after 15 epochs on a laptop without a GPU.",),
        plots=(_draw(found),),
    )


def _request(lab: Lab) -> RunConfig:
    return replace(
        tutorial(),
        **use_flowers(lab.data_dir),
        images_per_class=(80,) if lab.quick else (),
        epochs=3 if lab.quick else 15,
        seeds=(0,) if lab.quick else (0, 1, 2),
        batch_size=20 if lab.quick else 32,
    )


def _draw(found: dict[str, Trained]) -> Plot:
    classes = next(iter(found.values())).records[0].data.class_names
    series = []
    for name, trained in found.items():
        points = [point_at("all", trained.accuracy)]
        for number, label in enumerate(classes):
            points.append(point_at(label, trained.accuracy_on(trained.images_of([number]))))
        series.append(Series(name=name, points=tuple(points)))
    return Plot(
        title="Test top-1 of each class",
        caption=say_seeds(len(next(iter(found.values())).records)),
        kind="dots",
        x="Top-1 (%)",
        y="Class",
        series=tuple(series),
    )
