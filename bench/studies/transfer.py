"""What weights that were trained on other images bring, by the number of images of a class."""

from collections.abc import Sequence
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
Found = dict[str, dict[int, Trained]]  # by way, then by the number of images of a class
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
    found: Found = {}
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
    return Answer(
        sentences=(
            *_say_gains(found, WHOLE, FROZEN, "training all of it"),
            *_say_gains(found, CIFAR_WHOLE, SMALL_SCRATCH, "starting from CIFAR-100's weights"),
            *(_say_order(found, count) for count in counts),
        ),
        setting=f"{_say_images(found, counts)}; {_say_rates(chosen, rates, counts)}.",
        beside=(
            "LAB.md: frozen features of all 2,976 training photographs at 224 px give 88 to 90 %.",
        ),
        plots=(_draw(found, len(_seeds(lab))),),
    )


def _say_gains(found: Found, better: str, worse: str, what: str) -> list[str]:
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


def _say_order(found: Found, count: int) -> str:
    """Say how good each way is with so many images of a class, the best first."""
    tops = {way: own[count].accuracy.value for way, own in found.items()}
    order = sorted(tops, key=lambda way: -tops[way])
    said = join_names(f"{way} {tops[way]:.1f} %" for way in order)
    return f"With {count} images of a class: {said}."


def _say_images(found: Found, counts: Sequence[int]) -> str:
    records = found[FROZEN][counts[0]].records
    data = records[0].data
    return (
        f"{join_names(data.class_names)}: {data.num_test} test photographs; {LARGE} at "
        f"{data.image_size} px and {SMALL} at 32 px, {say_count(len(records), 'seed')}"
    )


def _say_rates(chosen: dict[str, list[str]], rates: Sequence[float], counts: Sequence[int]) -> str:
    ways = "; ".join(f"{way} {join_names(some)}" for way, some in chosen.items())
    return (
        f"rates of {join_names(f'{rate:g}' for rate in rates)} by validation, for "
        f"{join_names(map(str, counts))} images of a class: {ways}"
    )


def _draw(found: Found, num_seeds: int) -> Plot:
    return Plot(
        title="Test top-1 by the number of training images",
        caption=say_seeds(num_seeds),
        kind="lines",
        x="Training images of a class",
        y="Top-1 (%)",
        log_x=True,
        series=tuple(
            Series(
                name=way,
                points=tuple(point_at(count, one.accuracy) for count, one in own.items()),
            )
            for way, own in found.items()
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
