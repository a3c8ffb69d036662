"""The comparisons that the study of equal models makes. No torch."""

import random
from typing import Literal, NamedTuple

METRIC = "train_images_per_second"  # what the two builds are judged by
MODELS = ("lenet5", "squeezenet1_1")
NUM_EACH = 50  # comparisons of a kind, model and company

Kind = Literal["same", "slowed"]


class Trial(NamedTuple):
    """One comparison of two builds of a model.

    `slowed`: the second one is slowed down by 5 %. `busy`: another process takes a core meanwhile.
    """

    kind: Kind
    model: str
    busy: bool
    number: int


def list_trials() -> list[Trial]:
    """Return all comparisons, in an order drawn once: no kind has an hour of the day to itself."""
    conditions: list[tuple[Kind, bool]] = [("same", False), ("same", True), ("slowed", False)]
    trials = []
    # The order before the draw is part of what is drawn: it must stay.
    for kind, busy in conditions:
        for model in MODELS:
            trials += [Trial(kind, model, busy, number) for number in range(NUM_EACH)]
    random.Random(0).shuffle(trials)
    return trials
