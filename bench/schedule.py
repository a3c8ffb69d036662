"""The learning rate as a pure function of the share of the budget that is spent. No torch."""

import math

from bench.config import RunConfig


def learning_rate(config: RunConfig, peak: float, share: float) -> float:
    """The rate when `share` (0 to 1) of the budget is spent.

    All schedules rise linearly over the first `warmup` of it. `cosine` and `onecycle` then fall along half a cosine,
    to zero and to peak / 1,000 (one cycle: Smith and Topin 2017, which starts at peak / 25).
    """
    start, end = {"onecycle": (peak / 25, peak / 1000)}.get(config.schedule, (0.0, 0.0))
    if share < config.warmup:
        return start + (peak - start) * share / config.warmup
    if config.schedule == "constant":
        return peak
    fallen = min(1.0, (share - config.warmup) / max(1e-12, 1 - config.warmup))
    return end + (peak - end) * (1 + math.cos(math.pi * fallen)) / 2
