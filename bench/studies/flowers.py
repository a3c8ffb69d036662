"""The flowers tutorial's training of half an AlexNet, with four optimisers, class by class."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.request.recipe import tutorial
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.best_rate import rank_variants, say_rate, train_at_best_rate
from bench.studies.image_set import use_flowers
from bench.studies.lab import Lab, Trained
from bench.studies.wording import join_names, say_count, say_seeds

# Adam's greatest is the tutorial's.
GRID: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "SGD": ({"optimizer": "sgd", "momentum": 0.0}, (0.01, 0.03, 0.1)),
    "momentum": ({"optimizer": "momentum"}, (0.003, 0.01, 0.03)),
    "AdaGrad": ({"optimizer": "adagrad"}, (0.0003, 0.001, 0.003)),
    "Adam": ({"optimizer": "adam"}, (0.0001, 0.0003, 0.001)),
}


def flowers(lab: Lab) -> Answer:
    """How good is half an AlexNet on five kinds of flowers after 15 epochs?

    224 px, a tenth of the photographs as the test, four optimisers, each at its best constant rate
    of a grid by validation. The quick form has 80 images of a class, 6 epochs, the two greater
    rates and one seed.
    """
    found: dict[str, Trained] = {}
    tried = []
    for name, (options, grid) in GRID.items():
        rates = grid[1:] if lab.quick else grid
        best = train_at_best_rate(lab, name, replace(_request(lab), **options), rates)
        tried.append(say_rate(name, best, rates))
        if best is not None:
            found[name] = best.trained
    order, lead = rank_variants(found, tried)
    first = found[order[0]]
    record = first.records[0]
    return Answer(
        sentences=(
            lead,
            f"All: {join_names(f'{name} {found[name].accuracy.value:.1f} %' for name in order)}.",
            f"Best rates by validation: {'; '.join(tried)}.",
        ),
        setting=(
            f"alexnet_half at 224 px, {record.data.num_train:,} training and "
            f"{record.data.num_test} test photographs, {len(record.epochs)} epochs, batches of "
            f"{record.batch_size}, mirrored, constant rates, "
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
        epochs=6 if lab.quick else 15,
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
