"""A model's answer in words: its likeliest classes. No torch."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.deploy.model_info import ModelInfo


class Guess(NamedTuple):
    """One of a picture's likeliest classes; `superclass` is empty where there are none."""

    name: str
    superclass: str
    probability: float


def rank_classes(probabilities: Sequence[float], info: ModelInfo, most: int) -> list[Guess]:
    """Return the likeliest classes, the likeliest first."""
    order = sorted(range(len(probabilities)), key=lambda each: -probabilities[each])
    return [
        Guess(info.class_names[each], info.superclass_name(each), probabilities[each])
        for each in order[:most]
    ]
