"""Optimisers by name."""

import torch
from torch import nn

from bench.config import RunConfig
from bench.limit import OPTIMIZERS
from bench.word import unknown

DEFAULT_RATE = {"sgd": 0.05, "momentum": 0.01}


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
    if config.optimizer in ("sgd", "momentum"):
        nesterov = config.optimizer == "sgd" and config.momentum > 0
        return torch.optim.SGD(groups, lr=peak, momentum=config.momentum, nesterov=nesterov, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=peak, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    return _timm_optimizer(groups, config, peak)


def check_optimizer(name: str) -> None:
    """Raise ValueError with the nearest names for an optimiser that neither we nor timm have."""
    if name not in OPTIMIZERS:
        import timm.optim

        known = sorted({*OPTIMIZERS, *map(str, timm.optim.list_optimizers())})  # type: ignore[attr-defined]
        if name not in known:
            raise ValueError(unknown("--optimizer", name, known))


def _timm_optimizer(groups: list[dict[str, object]], config: RunConfig, peak: float) -> torch.optim.Optimizer:
    import timm.optim

    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=config.optimizer, lr=peak, weight_decay=config.weight_decay, momentum=config.momentum
    )
    return optimizer
