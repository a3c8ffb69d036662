"""How far a network's accuracy on its training images runs ahead of that on others."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.results.image_interval import independent_difference, top1_estimate
from bench.results.interval import CONFIDENCE, Estimate
from bench.studies.image_set import use_ten_classes
from bench.studies.lab import Lab, Trained
from bench.studies.wording import join_names, say_count, say_estimate, say_proof

CROPPED = ("crop", "mirror")
# The dropout rate and the augmentations.
REMEDIES: dict[str, dict[str, Any]] = {
    "nothing": {"dropout": 0.0, "augment": ()},
    "dropout": {"dropout": 0.5, "augment": ()},
    "augmentation": {"dropout": 0.0, "augment": CROPPED},
    "both together": {"dropout": 0.5, "augment": CROPPED},
}
REMEDIED = tuple(REMEDIES)[1:]
MOST = 450  # training images of a class


def overfitting(lab: Lab) -> Answer:
    """How does the gap between training and validation depend on the number of images?

    With and without dropout and augmentation, each trained for as many steps. The gap is of top-1
    after the last epoch. The quick form has one seed and ten classes.
    """
    counts = (50, 150, MOST)
    gaps: dict[str, dict[int, Estimate]] = {name: {} for name in REMEDIES}
    for name, options in REMEDIES.items():
        for count in counts:
            config = replace(_request(lab, count), **options)
            gaps[name][count] = gap_of(lab.train(f"{name} {count}", config))
    few, many = counts[0], counts[-1]
    plain = gaps["nothing"]
    answer = [
        f"Without a remedy the gap is {say_estimate(plain[few], 'points')} with {few} images of a "
        f"class, and {say_estimate(plain[many], 'points')} with {many}."
    ]
    answer += [_judge_remedy(lab, name, few) for name in REMEDIED]
    (sample, *_) = lab.trained.values()
    record, num_seeds = sample.records[0], len(sample.records)
    covered = f" and {num_seeds} seeds" if num_seeds > 1 else "; there is one seed"
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{record.model}, {len(record.data.class_names)} classes of {record.data.name}, "
            f"{join_names(map(str, counts))} training images of each, as many steps for all, "
            f"{say_count(num_seeds, 'seed')}; {record.data.num_validation:,} validation images. "
            f"What is proven is adjusted for {len(REMEDIED)} remedies."
        ),
        plots=(
            Plot(
                title="Top-1 on training images above that on validation images",
                caption=f"Intervals cover both sets of images{covered}.",
                kind="lines",
                x="Training images of a class",
                y="Gap (points)",
                log_x=True,
                series=tuple(
                    Series(name=name, points=tuple(point_at(count, own[count]) for count in counts))
                    for name, own in gaps.items()
                ),
            ),
        ),
    )


def _judge_remedy(lab: Lab, name: str, count: int) -> str:
    """Say how a remedy changes the gap with so many images of a class, and whether it is proven.

    By an interval that is adjusted for the number of remedies (Bonferroni): no p is kept that could
    be adjusted.
    """
    with_it, without = (lab.trained[f"{one} {count}"] for one in (name, "nothing"))
    # Of the same validation images, but only their number right is kept: as of others, and so with
    # an interval that is too wide rather than too narrow.
    change = independent_difference(gap_of(with_it), gap_of(without))
    sure = 1 - (1 - CONFIDENCE) / len(REMEDIED)
    adjusted = independent_difference(gap_of(with_it, sure), gap_of(without, sure))
    return (
        f"With {count}, {name} changes it by {say_estimate(change, 'points', signed=True)}, "
        f"{say_proof(adjusted, 'proven wider', 'proven narrower')}."
    )


def gap_of(trained: Trained, confidence: float = CONFIDENCE) -> Estimate:
    """Return the points of top-1 that training is above validation after the last epoch."""
    last = [record.epochs[-1] for record in trained.records]
    learnt = [row.train_evaluation for row in last if row.train_evaluation]
    unseen = [row.evaluation for row in last if row.evaluation]
    learnt_top1, unseen_top1 = (
        top1_estimate(one, confidence=confidence) for one in (learnt, unseen)
    )
    return independent_difference(learnt_top1, unseen_top1)


def _request(lab: Lab, count: int) -> RunConfig:
    hidden = "@hidden=512" if lab.quick else ""
    epochs = 4 if lab.quick else 20
    return RunConfig(
        models=(f"alexnet_half_cifar{hidden}",),
        **(use_ten_classes(lab.data_dir) if lab.quick else {"dataset": "cifar100"}),
        images_per_class=(count,),
        epochs=epochs * MOST // count,
        seeds=(0,) if lab.quick else (0, 1, 2),
        batch_size=50,
        lr=0.02,
        assess_train=True,
    )
