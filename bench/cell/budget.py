"""A budget of seconds on a slow machine: the same for all models, with enough steps for each.

In the seconds of a recipe a slow machine may take so few steps that every model stays at chance: a
table of noise. With `--least-steps` the slowest are left out then, and the others get more seconds.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bench.cell.plan import PASSES
from bench.request.config import RunConfig

# Of the seconds of training that were asked for: what training and evaluation take at most. On 2
# cores with AVX-512 evaluation is a quarter of the training of `quick`.
ALLOWED = 4 / 3
# Times the least steps, where a machine can't take those in the seconds that were asked for: steps
# on noise leave the loader out, and a few of them tell a rate by some tenths only.
ENOUGH = 1.4


class Budget(NamedTuple):
    """The models that are trained, the seconds that each of them gets, and the others."""

    models: tuple[str, ...]
    seconds: float
    left_out: tuple[str, ...]


def choose_budget(
    image_seconds: Mapping[str, float], config: RunConfig, *, num_evaluated: int
) -> Budget:
    """Choose models and seconds so that all take the least steps, within the time that was asked.

    `image_seconds` are those of training on an image, by model; a forward pass is a third of it.
    """
    assert config.seconds is not None, "without --least-steps there is nothing to choose"
    images = (config.least_steps or 0) * config.batch_size
    if images * max(image_seconds.values()) <= config.seconds:
        return Budget(tuple(image_seconds), config.seconds, ())
    allowed = ALLOWED * config.seconds * len(image_seconds)
    kept = dict(sorted(image_seconds.items(), key=lambda item: item[1]))
    while True:
        slowest = list(kept)[-1]
        seconds = max(config.seconds, ENOUGH * images * kept[slowest])
        takes = seconds * len(kept) + num_evaluated / PASSES * sum(kept.values())
        if takes <= allowed or len(kept) == 1:
            break
        del kept[slowest]
    models = tuple(model for model in image_seconds if model in kept)
    left_out = tuple(model for model in image_seconds if model not in kept)
    # Whole tenths: the seconds stand in the command of every record.
    return Budget(models, round(min(seconds, allowed), 1), left_out)
