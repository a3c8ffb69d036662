"""Optimisers by name, and the learning rate as a pure function of the share of the budget that is spent."""

import math

import torch
from torch import nn

from bench.config import OPTIMIZERS, RunConfig, unknown

DEFAULT_RATE = {"sgd": 0.05}


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


def peak_rate(config: RunConfig, defaults: dict[str, object]) -> float:
    """The rate that was asked for; else, for sgd, the model's own; else the optimiser's usual one."""
    if config.lr is not None:
        return config.lr
    own = defaults.get("lr") if config.optimizer == "sgd" else None
    return float(own) if isinstance(own, int | float) else DEFAULT_RATE.get(config.optimizer, 1e-3)


def build_optimizer(model: nn.Module, config: RunConfig, peak: float) -> torch.optim.Optimizer:
    """Build the optimiser over the model's weights; biases, norms and other vectors don't decay.

    Raises ValueError for a name that neither we nor timm have.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=peak, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=peak, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    return _timm_optimizer(groups, config, peak)


def check_optimizer(name: str) -> None:
    """Raise ValueError with the nearest names for an optimiser that neither we nor timm have."""
    if name not in OPTIMIZERS:
        import timm.optim

        known = [*OPTIMIZERS, *map(str, timm.optim.list_optimizers())]  # type: ignore[attr-defined]
        if name not in known:
            raise ValueError(unknown("--optimizer", name, known))


def _timm_optimizer(groups: list[dict[str, object]], config: RunConfig, peak: float) -> torch.optim.Optimizer:
    import timm.optim

    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=config.optimizer, lr=peak, weight_decay=config.weight_decay, momentum=config.momentum
    )
    return optimizer
