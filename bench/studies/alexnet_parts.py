"""What each part of AlexNet is worth (Krizhevsky et al. 2012, sections 3.2 to 4.2)."""

from dataclasses import replace
from typing import NamedTuple

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Point, Series, point_at
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab
from bench.studies.wording import say_count, say_estimate, say_gains, say_seeds

WHOLE = "whole"


class Part(NamedTuple):
    """A part: the variants with it and without it, and the points that the paper gives it."""

    name: str
    having: str
    lacking: str
    published: float | None = None


PARTS = (
    Part("LRN as the authors' code has it", WHOLE, "no LRN", 1.4),
    Part("LRN by the paper's formula", "LRN by formula", "no LRN", 1.4),
    Part("overlapping pooling", WHOLE, "plain pooling", 0.4),
    Part("two towers instead of one of them", WHOLE, "half", 1.7),
    Part("two towers instead of one as wide", WHOLE, "single tower"),
    Part("dropout", WHOLE, "no dropout"),
    Part("crop and mirror", WHOLE, "no augmentation"),
    Part("PCA colour besides", "PCA colour", WHOLE, 1.0),
    Part("ten crops instead of one", "ten crops", WHOLE),
)


def alexnet_parts(lab: Lab) -> Answer:
    """How many points of top-1 is each part of AlexNet worth?

    Each variant changes one thing of the 32 px form in two towers; differences are paired over
    seeds and test images. The quick form has an eighth of the hidden units and ten
    classes.
    """
    variants = lab.train_all(_list_variants(lab))
    crops = replace(_whole(lab), pretrained=str(lab.folder / WHOLE), epochs=0, crops=10, lr=None)
    variants["ten crops"] = lab.train("ten crops", crops)
    gains = {part: variants[part.having].gain_over(variants[part.lacking]) for part in PARTS}
    answer = [f"{part.name}: {said}." for part, said in say_gains(gains).items()]
    paper = [Point(place=part.name, value=part.published) for part in PARTS if part.published]
    ours = [point_at(part.name, gain.points) for part, gain in gains.items()]
    whole = variants[WHOLE]
    data = whole.records[0].data
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{whole.records[0].model} ({say_estimate(whole.accuracy, '%')} top-1), "
            f"{data.num_train:,} training images of {len(data.class_names)} classes of "
            f"{data.name}, {len(whole.records[0].epochs)} epochs, "
            f"{say_count(len(whole.records), 'seed')}; verdicts are adjusted for {len(PARTS)} "
            "parts."
        ),
        beside=(
            "Krizhevsky et al. 2012, on ImageNet (top-1 / top-5): LRN 1.4 / 1.2 points, "
            "overlapping pooling 0.4 / 0.3, two towers against one of half the kernels 1.7 / 1.2, "
            "PCA colour over 1.",
        ),
        plots=(
            Plot(
                title="Points of top-1 that a part is worth",
                caption="To the right of 0 the network with the part is better. "
                + say_seeds(len(whole.records)),
                kind="dots",
                x="Points of top-1",
                y="Part",
                series=(
                    Series(name="here", points=tuple(ours)),
                    Series(name="the paper, ImageNet", points=tuple(paper), published=True),
                ),
            ),
        ),
    )


def _whole(lab: Lab) -> RunConfig:
    return RunConfig(
        models=(_name("alexnet_grouped_cifar", lab.quick),),
        **use_cifar(lab.data_dir, quick=lab.quick),
        epochs=4 if lab.quick else 20,
        seeds=(0, 1, 2),
        batch_size=64 if lab.quick else 128,
        lr=0.03,
    )


def _name(model: str, quick: bool, **switches: object) -> str:
    if quick:
        # Half of AlexNet is half of its hidden units too.
        switches["hidden"] = 256 if model == "alexnet_half_cifar" else 512
    written = ",".join(f"{name}={value}" for name, value in switches.items())
    return f"{model}@{written}" if written else model


def _list_variants(lab: Lab) -> list[tuple[str, RunConfig]]:
    whole, quick = _whole(lab), lab.quick

    def switched(model: str = "alexnet_grouped_cifar", **switches: object) -> RunConfig:
        return replace(whole, models=(_name(model, quick, **switches),))

    return [
        (WHOLE, whole),
        ("no LRN", switched(lrn="off")),
        ("LRN by formula", switched(lrn="paper")),
        ("plain pooling", switched(pooling="plain")),
        ("half", switched("alexnet_half_cifar", lrn="code")),
        ("single tower", switched("alexnet_single_tower_cifar", lrn="code")),
        ("no dropout", switched(dropout=0)),
        ("no augmentation", replace(whole, augment=())),
        ("PCA colour", replace(whole, augment=("crop", "mirror", "pca"))),
    ]
