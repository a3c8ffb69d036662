"""Optimisers by name."""

import torch
from torch import nn

from bench.request.config import OPTIMIZERS, RunConfig
from zoo.registry import unknown


def build_optimizer(model: nn.Module, config: RunConfig, peak: float) -> torch.optim.Optimizer:
    """Build the optimiser, sgd where none is named; biases, norms and other vectors don't decay.

    Raises ValueError for a name that neither we nor timm have.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    name = config.optimizer or "sgd"
    if name in ("sgd", "momentum"):
        nesterov = name == "sgd" and config.momentum > 0
        return torch.optim.SGD(groups, lr=peak, momentum=config.momentum, nesterov=nesterov, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=peak, fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    return _timm_optimizer(groups, name, config, peak)


def check_optimizer(name: str | None) -> None:
    """Raise ValueError with the nearest names for an optimiser that neither we nor timm have."""
    if name is not None and name not in OPTIMIZERS:
        import timm.optim

        known = sorted({*OPTIMIZERS, *map(str, timm.optim.list_optimizers())})  # type: ignore[attr-defined]
        if name not in known:
            raise ValueError(unknown("--optimizer", name, known))


def _timm_optimizer(
    groups: list[dict[str, object]], name: str, config: RunConfig, peak: float
) -> torch.optim.Optimizer:
    import timm.optim

    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=name, lr=peak, weight_decay=config.weight_decay, momentum=config.momentum
    )
    return optimizer
