"""What weights that were trained on other images bring, by the number of images of a class."""

from dataclasses import replace
from typing import Any

from bench.request.config import RunConfig
from bench.request.recipe import backbones
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.best_rate import say_rate, train_at_best_rate
from bench.studies.image_set import find_pretrained, use_flowers
from bench.studies.lab import Lab, Trained
from bench.studies.wording import (
    BETTER,
    join_names,
    say_count,
    say_gains,
    say_seeds,
    say_verdicts,
)

LARGE, SMALL = "timm:tf_efficientnet_lite0", "cuda_convnet"
MOST_TIMES = 5  # the epochs, where images are few: each epoch is evaluated
RATES = (0.001, 0.003, 0.01, 0.03)
CIFAR = "CIFAR-100 first"
SCRATCH = "from scratch"
FROZEN, WHOLE = "ImageNet, frozen", "ImageNet, whole"
SMALL_SCRATCH = "small, from scratch"
CIFAR_FROZEN, CIFAR_WHOLE = "CIFAR-100, frozen", "CIFAR-100, whole"


def transfer(lab: Lab) -> Answer:
    """From how many images of a class on is it worth training more than a classifier on features?

    Five kinds of flowers; EfficientNet-Lite 0 from scratch and from ImageNet's weights, frozen and
    whole, which starts with the frozen form's classifier; and a small network from scratch and from
    weights that were trained here on CIFAR-100. Fewer images are trained on for more epochs, up to
    five times as many. What learns by steps has its best rate of a grid, chosen on validation. The
    quick form has 96 px instead of 224, fewer images, every other rate and one seed.
    """
    counts = (5, 25) if lab.quick else (5, 20, 100, 400)
    rates = RATES[1::2] if lab.quick else RATES
    lab.train(CIFAR, _first_on_cifar100(lab))
    found: dict[str, dict[int, Trained]] = {}
    chosen: dict[str, list[str]] = {}
    for count in counts:
        for way, config in _list_ways(lab).items():
            name, config = f"{way}, {count}", replace(config, images_per_class=(count,))
            if config.train == "head":  # fitted in closed form: there is no rate
                found.setdefault(way, {})[count] = lab.train(name, config)
                continue
            more = min(counts[-1] // count, MOST_TIMES)
            config = replace(config, epochs=more * (config.epochs or 0))
            best = train_at_best_rate(lab, name, config, rates)
            if best is None:
                raise ValueError(say_rate(name, best, rates))
            found.setdefault(way, {})[count] = best.trained
            chosen.setdefault(way, []).append(f"{best.rate:g}")
    answer = _say_gains(found, WHOLE, FROZEN, "training all of it")
    answer += _say_gains(found, CIFAR_WHOLE, SMALL_SCRATCH, "starting from CIFAR-100's weights")
    for count in counts:
        tops = {name: own[count].accuracy for name, own in found.items()}
        said = [f"{name} {tops[name].value:.1f} %" for name in sorted(tops, key=tops.__getitem__)]
        answer.append(f"With {count} images of a class: {join_names(reversed(said))}.")
    record = found[FROZEN][counts[0]].records[0]
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{join_names(record.data.class_names)}: {record.data.num_test} test photographs; "
            f"{LARGE} at {record.data.image_size} px and {SMALL} at 32 px, "
            f"{say_count(len(_seeds(lab)), 'seed')}; rates of "
            f"{join_names(f'{rate:g}' for rate in rates)} by validation, for "
            f"{join_names(map(str, counts))} images of a class: "
            f"{'; '.join(f'{way} {join_names(some)}' for way, some in chosen.items())}."
        ),
        beside=(
            "LAB.md: frozen features of all 2,976 training photographs at 224 px give 88 to 90 %.",
        ),
        plots=(
            Plot(
                title="Test top-1 by the number of training images",
                caption=say_seeds(len(_seeds(lab))),
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


def _say_gains(
    found: dict[str, dict[int, Trained]], better: str, worse: str, what: str
) -> list[str]:
    """Say what one way is worth against another, by the number of images of a class."""
    gains = {count: one.gain_over(found[worse][count]) for count, one in found[better].items()}
    said = [f"{gain}, with {count} images of a class" for count, gain in say_gains(gains).items()]
    proven = [f"{count}" for count, verdict in say_verdicts(gains).items() if verdict == BETTER]
    where = (
        f"with {join_names(proven)} images of a class" if proven else "with none of these numbers"
    )
    return [
        f"{better} against {worse}: {'; '.join(said)}.",
        f"So {what} is proven to be worth it {where}.",
    ]


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
    # From the classifier on frozen features: a random one would cost the layers below what they
    # know.
    whole = replace(frozen, train="head+all", epochs=8 if lab.quick else 20)
    scratch = replace(whole, train="all", pretrained="none")
    small: dict[str, Any] = {
        "models": (SMALL,),
        "image_size": 32,
        "pretrained": str(lab.folder / CIFAR),
    }
    return {
        SCRATCH: scratch,
        SMALL_SCRATCH: replace(scratch, models=(SMALL,), image_size=32),
        CIFAR_FROZEN: replace(frozen, **small),
        CIFAR_WHOLE: replace(whole, **small),
        FROZEN: frozen,
        WHOLE: whole,
    }


def _seeds(lab: Lab) -> tuple[int, ...]:
    return (0,) if lab.quick else (0, 1, 2)
