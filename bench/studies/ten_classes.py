"""The ten classes of 32 px that studies train on: CIFAR-10, or ten of CIFAR-100. No torch."""

from typing import Any

from bench.data.source import find_source

# Each of another superclass of CIFAR-100.
NAMES = (
    *("apple", "bicycle", "bottle", "castle", "chair"),
    *("cloud", "lion", "maple_tree", "rocket", "trout"),
)


def use_ten_classes() -> dict[str, Any]:
    """Return the options that take CIFAR-10 where it is found, else 5,000 images of CIFAR-100."""
    if find_source("cifar10", None) is not None:
        return {"dataset": "cifar10"}
    return {"dataset": "cifar100", "classes": NAMES}
