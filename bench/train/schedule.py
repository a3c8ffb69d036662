"""A model's optimiser, and its learning rate as the budget is spent. No torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.request.config import NONE, RunConfig

USUAL_PEAK = {"sgd": 0.05, "momentum": 0.01}
# Of the rate for fresh weights, where they were trained before: the whole one would undo at first
# what they know.
SHARE_FOR_TRAINED = 0.1
USUAL_ADAPTIVE_PEAK = 1e-3  # of every other optimiser, as Adam's authors chose it
MOST_DROPS = 3  # Krizhevsky et al. 2012, section 5: "reduced three times prior to termination"
# Smith and Topin 2017: one cycle starts at a fraction of its peak, and ends far below it.
ONE_CYCLE_START = 25
ONE_CYCLE_END = 1000
NUM_LEVELS = 3  # of the rates of `steps`
LEAST_OF_WARMUP = 0.01  # of the peak, as torchvision's recipes begin: at 0 a step would be lost


def choose_optimizer(config: RunConfig, defaults: Mapping[str, object]) -> RunConfig:
    """Fill in the optimiser and its peak learning rate: what was asked for, else the model's own.

    `defaults` are a spec's. A model's own rate is for its own optimiser (sgd, where it names none);
    another optimiser gets its usual rate. Weights that were trained before get a tenth of either.
    """
    own_optimizer = str(defaults.get("optimizer", "sgd"))
    own_peak = defaults.get("lr")
    optimizer = config.optimizer or own_optimizer
    if config.lr is not None:
        peak = config.lr
    elif optimizer == own_optimizer and isinstance(own_peak, int | float):
        peak = float(own_peak)
    else:
        peak = USUAL_PEAK.get(optimizer, USUAL_ADAPTIVE_PEAK)
    if config.lr is None and config.pretrained != NONE:
        peak *= SHARE_FOR_TRAINED
    return replace(config, optimizer=optimizer, lr=peak)


def learning_rate_at(config: RunConfig, peak: float, share: float) -> float:
    """Return the learning rate when `share` (0 to 1) of the budget is spent.

    All schedules rise linearly over the first `warmup` of it, and are never below a hundredth of
    `peak` there. `constant` and `plateau` then stay; `steps` takes a tenth after each third of the
    budget (as He et al. 2016 did by hand); `cosine` and `onecycle` fall along half a cosine, to
    zero and to peak / 1,000 (one cycle: Smith and Topin 2017, from peak / 25 on).
    """
    start, end = 0.0, 0.0
    if config.schedule == "onecycle":
        start, end = peak / ONE_CYCLE_START, peak / ONE_CYCLE_END
    if share < config.warmup:
        rising = start + (peak - start) * share / config.warmup
        return max(rising, LEAST_OF_WARMUP * peak)
    if config.schedule in ("constant", "plateau"):
        return peak
    if config.schedule == "steps":
        return peak / 10.0 ** min(int(NUM_LEVELS * share), NUM_LEVELS - 1)
    # A warm-up of the whole budget leaves nothing to fall in.
    after_warmup = max(1e-12, 1 - config.warmup)
    fallen = min(1.0, (share - config.warmup) / after_warmup)
    return end + (peak - end) * (1 + math.cos(math.pi * fallen)) / 2


def drop_peak(config: RunConfig, peak: float, errors: Iterable[float]) -> float:
    """Return the peak learning rate that holds after epochs with these validation errors.

    `plateau` takes a tenth of it each time that `patience` epochs in a row brought nothing better,
    at most three times. Other schedules don't look.
    """
    if config.schedule != "plateau":
        return peak
    best, num_worse, num_drops = math.inf, 0, 0
    for error in errors:
        if error < best:
            best, num_worse = error, 0
        else:
            num_worse += 1
        if num_worse == config.patience and num_drops < MOST_DROPS:
            num_drops += 1
            num_worse = 0
    return peak / 10.0**num_drops
