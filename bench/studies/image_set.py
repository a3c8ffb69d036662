"""Which images and weights studies take, as options of their runs. No torch."""

from pathlib import Path
from typing import Any

from bench.data.source import find_source, list_roots
from bench.request.config import HUB

# Each of another superclass of CIFAR-100.
TEN_CLASSES = (
    *("apple", "bicycle", "bottle", "castle", "chair"),
    *("cloud", "lion", "maple_tree", "rocket", "trout"),
)
NUM_QUICK = 450  # training images of a class, in a quick form
FLOWERS = "flowers5"
WEIGHTS = "pretrained"


def use_ten_classes(data_dir: Path | None) -> dict[str, Any]:
    """Return the options that take CIFAR-10 where it is found, else 5,000 images of CIFAR-100."""
    if find_source("cifar10", data_dir) is not None:
        return {"dataset": "cifar10"}
    return {"dataset": "cifar100", "classes": TEN_CLASSES}


def use_cifar(data_dir: Path | None, *, quick: bool) -> dict[str, Any]:
    """Return the options that take CIFAR-100; in a quick form a few images of ten classes."""
    if quick:
        return use_ten_classes(data_dir) | {"images_per_class": (NUM_QUICK,)}
    return {"dataset": "cifar100"}


def use_flowers(data_dir: Path | None) -> dict[str, Any]:
    """Return the options that take the five flowers' photographs.

    ValueError says where their folder was looked for.
    """
    places = [root / FLOWERS for root in list_roots(data_dir)]
    for place in places:
        if place.is_dir():
            return {"dataset": "imagefolder", "data_dir": place}
    looked = ", ".join(map(str, places))
    raise ValueError(f"no folder {looked}: put the five flowers there (train/CLASS, val/CLASS)")


def find_pretrained(data_dir: Path | None) -> str:
    """Return the folder of pretrained weights beside the data, else the hub's name."""
    for root in list_roots(data_dir):
        if (root / WEIGHTS).is_dir():
            return str(root / WEIGHTS)
    return HUB
