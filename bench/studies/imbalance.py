"""What a long tail of classes costs, and what two remedies bring."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab, Trained
from bench.studies.wording import (
    join_names,
    say_count,
    say_estimate,
    say_gains,
    say_seeds,
)

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
        answer += _say_tails(found, ratio)
        plots.append(_draw(found, ratio))
    record = next(iter(lab.trained.values())).records[0]
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{record.model}, {len(record.data.class_names)} classes of {record.data.name}, "
            f"{len(record.epochs)} epochs, {say_count(len(_request(lab).seeds), 'seed')}; head, "
            "middle and tail are thirds of the classes by their number of training images; "
            "verdicts are adjusted for the comparisons at one ratio."
        ),
        plots=tuple(plots),
    )


def _say_tails(found: Mapping[str, Trained], ratio: int) -> list[str]:
    nothing = found["nothing"]
    tails = {name: one.accuracy_on(images_of_part(one, "tail")) for name, one in found.items()}
    said = join_names(f"{name} {say_estimate(top1, '%')}" for name, top1 in tails.items())
    places = (*PARTS, None)
    gains = {
        (name, part): found[name].gain_over(nothing, images_of_part(nothing, part))
        for name in list(REMEDIES)[1:]
        for part in places
    }
    changes = say_gains(gains)
    sentences = [f"At a ratio of {ratio} top-1 of the tail is: {said}."]
    for name in list(REMEDIES)[1:]:
        where = [
            f"{'in the ' + part if part else 'over all classes'} by {changes[name, part]}"
            for part in places
        ]
        sentences.append(f"At {ratio}, {name} changes top-1 {'; '.join(where)}.")
    return sentences


def images_of_part(trained: Trained, part: str | None) -> NDArray[np.bool_]:
    """Return which test images (n,) are of a third of the classes, or of any."""
    num_classes = len(trained.records[0].data.class_names)
    classes: list[int] = list(range(num_classes))
    if part is not None:
        # Classes stand in the order of their sizes.
        classes = np.array_split(classes, len(PARTS))[PARTS.index(part)].tolist()
    return trained.images_of(classes)


def _draw(found: dict[str, Trained], ratio: int) -> Plot:
    series = []
    for name, trained in found.items():
        tops = {part: trained.accuracy_on(images_of_part(trained, part)) for part in PARTS}
        points = tuple(point_at(part, top1) for part, top1 in tops.items())
        series.append(Series(name=name, points=points))
    return Plot(
        title=f"Top-1 of head, middle and tail at a ratio of {ratio}",
        caption=say_seeds(len(next(iter(found.values())).records)),
        kind="dots",
        x="Top-1 (%)",
        y="Classes",
        series=tuple(series),
    )


def _request(lab: Lab) -> RunConfig:
    return RunConfig(
        models=("lenet5",) if lab.quick else ("resnet20",),
        **use_cifar(lab.data_dir, quick=lab.quick),
        epochs=20 if lab.quick else 30,
        seeds=(0, 1, 2),
        batch_size=32 if lab.quick else 128,
    )
