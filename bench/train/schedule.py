"""A model's optimiser and peak rate, and the rate as a function of the share of the budget that is spent. No torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.request.config import RunConfig

DEFAULT_RATE = {"sgd": 0.05, "momentum": 0.01}
MOST_DROPS = 3  # Krizhevsky et al. 2012, section 5: "reduced three times prior to termination"


def settle(config: RunConfig, defaults: Mapping[str, object]) -> RunConfig:
    """Fill in the optimiser and its peak rate: what was asked for, else the model's own, else the usual.

    A model's own rate is for its own optimiser (sgd, where it names none).
    """
    own = str(defaults.get("optimizer", "sgd"))
    optimizer = config.optimizer or own
    rate = defaults.get("lr") if optimizer == own else None
    usual = float(rate) if isinstance(rate, int | float) else DEFAULT_RATE.get(optimizer, 1e-3)
    return replace(config, optimizer=optimizer, lr=usual if config.lr is None else config.lr)


def learning_rate(config: RunConfig, peak: float, share: float) -> float:
    """The rate when `share` (0 to 1) of the budget is spent.

    All schedules rise linearly over the first `warmup` of it. `constant` and `plateau` then stay;
    `cosine` and `onecycle` fall along half a cosine, to zero and to peak / 1,000 (one cycle: Smith
    and Topin 2017, which starts at peak / 25).
    """
    start, end = {"onecycle": (peak / 25, peak / 1000)}.get(config.schedule, (0.0, 0.0))
    if share < config.warmup:
        return start + (peak - start) * share / config.warmup
    if config.schedule in ("constant", "plateau"):
        return peak
    fallen = min(1.0, (share - config.warmup) / max(1e-12, 1 - config.warmup))
    return end + (peak - end) * (1 + math.cos(math.pi * fallen)) / 2


def dropped(config: RunConfig, peak: float, errors: Iterable[float]) -> float:
    """The peak that holds after epochs with these validation errors: of `plateau` a tenth for each time that

    `patience` epochs in a row brought nothing better, at most three times. Other schedules don't
    look.
    """
    if config.schedule != "plateau":
        return peak
    best, bad, num_drops = math.inf, 0, 0
    for error in errors:
        bad = 0 if error < best else bad + 1
        best = min(best, error)
        if bad == config.patience and num_drops < MOST_DROPS:
            num_drops, bad = num_drops + 1, 0
    return peak / 10.0**num_drops
