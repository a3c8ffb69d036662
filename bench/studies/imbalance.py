"""What a long tail of classes costs, and what two remedies bring."""

from dataclasses import replace
from typing import Any

import numpy as np

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.results.image_interval import mean_estimate
from bench.results.interval import Estimate
from bench.studies.image_set import use_ten_classes
from bench.studies.lab import Lab, Trained
from bench.studies.wording import say_count, say_estimate, say_proof

RATIOS = (10, 100)
REMEDIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "--balance": {"balance": True},
    "--class-weights": {"class_weights": True},
}
PARTS = ("head", "middle", "tail")  # thirds of the classes, by their number of training images


def imbalance(lab: Lab) -> Answer:
    """What do --balance and --class-weights bring where classes have a long tail?

    The first class has 10 or 100 times as many training images as the last; the test images are
    balanced. The quick form has ten classes and a small network.
    """
    answer, plots = [], []
    for ratio in RATIOS:
        found = {}
        for name, options in REMEDIES.items():
            config = replace(_request(lab), imbalance=float(ratio), **options)
            found[name] = lab.train(f"{ratio} {name.strip('-')}", config)
        tails = {name: part_top1(found[name], "tail") for name in REMEDIES}
        said = [f"{name} {say_estimate(top1, '%')}" for name, top1 in tails.items()]
        answer.append(f"At a ratio of {ratio} top-1 of the tail is: {', '.join(said)}.")
        for name in list(REMEDIES)[1:]:
            gain = found[name].gain_over(found["nothing"])
            points = say_estimate(gain, "points", signed=True)
            answer.append(f"Over all classes {name} is worth {points} there, {say_proof(gain)}.")
        plots.append(_draw(found, ratio))
    record = next(iter(lab.trained.values())).records[0]
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{record.model}, {len(record.data.class_names)} classes of {record.data.name}, "
            f"{len(record.epochs)} epochs, {say_count(len(_request(lab).seeds), 'seed')}; head, "
            "middle and tail are thirds of the classes by their number of training images."
        ),
        plots=tuple(plots),
    )


def part_top1(trained: Trained, part: str) -> Estimate:
    """Return the top-1 in percent of a third of the classes, with its interval."""
    num_classes = len(trained.records[0].data.class_names)
    # Classes stand in the order of their sizes.
    classes = np.array_split(np.arange(num_classes), len(PARTS))[PARTS.index(part)]
    images = np.isin(trained.said["label"][0], classes)
    return mean_estimate(100.0 * trained.right[:, images])


def _draw(found: dict[str, Trained], ratio: int) -> Plot:
    series = []
    for name, trained in found.items():
        points = [point_at(part, part_top1(trained, part)) for part in PARTS]
        series.append(Series(name=name, points=tuple(points)))
    return Plot(
        title=f"Top-1 of head, middle and tail at a ratio of {ratio}",
        caption="Intervals cover the test images and the seeds.",
        kind="dots",
        x="Top-1 (%)",
        y="Classes",
        series=tuple(series),
    )


def _request(lab: Lab) -> RunConfig:
    return RunConfig(
        models=("lenet5",) if lab.quick else ("resnet20",),
        **(use_ten_classes(lab.data_dir) if lab.quick else {"dataset": "cifar100"}),
        epochs=20 if lab.quick else 30,
        seeds=(0, 1) if lab.quick else (0, 1, 2),
        batch_size=32 if lab.quick else 128,
    )
