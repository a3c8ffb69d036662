"""What weights that were trained on other images bring, by the number of images of a class."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.request.recipe import backbones
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.image_set import find_pretrained, use_flowers
from bench.studies.lab import Lab, Trained
from bench.studies.wording import join_names, say_count, say_estimate, say_proof

LARGE, SMALL = "timm:tf_efficientnet_lite0", "cuda_convnet"
CIFAR = "CIFAR-100 first"
SCRATCH = "from scratch"
FROZEN, WHOLE = "ImageNet, frozen", "ImageNet, whole"
CIFAR_FROZEN, CIFAR_WHOLE = "CIFAR-100, frozen", "CIFAR-100, whole"


def transfer(lab: Lab) -> Answer:
    """From how many images of a class on is it worth training more than a classifier on features?

    Five kinds of flowers; EfficientNet-Lite 0 from scratch and from ImageNet's weights, frozen and
    whole, and a small network that was trained here on CIFAR-100 first. The quick form has 96 px
    instead of 224, fewer images and one seed.
    """
    counts = (5, 25) if lab.quick else (5, 20, 100, 400)
    lab.train(CIFAR, _first_on_cifar100(lab))
    found: dict[str, dict[int, Trained]] = {}
    for count in counts:
        for name, config in _list_ways(lab).items():
            config = replace(config, images_per_class=(count,))
            found.setdefault(name, {})[count] = lab.train(f"{name}, {count}", config)
    answer = []
    for count in counts:
        ways = {name: own[count] for name, own in found.items()}
        first, second = sorted(ways, key=lambda name: -ways[name].accuracy.value)[:2]
        lead = ways[first].gain_over(ways[second])
        answer.append(
            f"With {count} images of a class, {first} comes first "
            f"({say_estimate(ways[first].accuracy, '%')} top-1), "
            f"{say_estimate(lead, 'points', signed=True)} over {second}, {say_proof(lead)}."
        )
    record = found[FROZEN][counts[0]].records[0]
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{join_names(record.data.class_names)}: {record.data.num_test} test photographs; "
            f"{LARGE} at {record.data.image_size} px and {SMALL} at 32 px, "
            f"{say_count(len(_seeds(lab)), 'seed')}."
        ),
        beside=(
            "LAB.md: frozen features of all 2,976 training photographs at 224 px give 88 to 90 %.",
        ),
        plots=(
            Plot(
                title="Test top-1 by the number of training images",
                caption="Intervals cover the test images and the seeds.",
                kind="lines",
                x="Training images of a class",
                y="Top-1 (%)",
                log_x=True,
                series=tuple(
                    Series(
                        name=name,
                        points=tuple(point_at(count, own[count].accuracy) for count in counts),
                    )
                    for name, own in found.items()
                ),
            ),
        ),
    )


def _first_on_cifar100(lab: Lab) -> RunConfig:
    return RunConfig(
        models=(SMALL,),
        dataset="cifar100",
        epochs=1 if lab.quick else 20,
        images_per_class=(150,) if lab.quick else (),
        seeds=_seeds(lab),
        batch_size=64,
    )


def _list_ways(lab: Lab) -> dict[str, RunConfig]:
    frozen = replace(
        backbones(),
        **use_flowers(lab.data_dir),
        models=(LARGE,),
        image_size=96 if lab.quick else 224,
        pretrained=find_pretrained(lab.data_dir),
        epochs=1,
        batch_size=16,
        seeds=_seeds(lab),
    )
    whole = replace(frozen, train="all", epochs=6 if lab.quick else 20, lr=0.01)
    small: dict[str, Any] = {
        "models": (SMALL,),
        "image_size": 32,
        "pretrained": str(lab.folder / CIFAR),
    }
    return {
        SCRATCH: replace(whole, pretrained="none", lr=0.05),
        CIFAR_FROZEN: replace(frozen, **small),
        CIFAR_WHOLE: replace(whole, **small),
        FROZEN: frozen,
        WHOLE: whole,
    }


def _seeds(lab: Lab) -> tuple[int, ...]:
    return (0,) if lab.quick else (0, 1, 2)
