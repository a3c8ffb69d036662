"""Optimisers by name: torch's own, and all that timm has."""

import torch
from torch import nn

from bench.request.config import OPTIMIZERS, RunConfig
from zoo.cause import first_line
from zoo.suggest import unknown

ParameterGroups = list[dict[str, object]]

UNUSABLE = {"adahessian": "it differentiates the gradients again, which training here doesn't keep"}


def check_optimizer(name: str | None) -> None:
    """Check an optimiser's name before anything starts.

    ValueError with the nearest names for one that neither torch nor timm has, or with the cause for
    one that can't be used here: some of timm's need a GPU or a package of their own.
    """
    if name is None or name in OPTIMIZERS:
        return
    # Only here and in _build_with_timm: importing timm.optim takes 1.3 s, more than torch itself.
    import timm.optim

    known = sorted({*OPTIMIZERS, *map(str, timm.optim.list_optimizers())})  # type: ignore[attr-defined]
    if name not in known:
        raise ValueError(unknown("--optimizer", name, known))
    if name in UNUSABLE:
        raise ValueError(f"--optimizer {name}: {UNUSABLE[name]}")
    one_weight: ParameterGroups = [{"params": [nn.Parameter(torch.zeros(1, 1))]}]
    try:
        _build_with_timm(one_weight, name, lr=0.1, weight_decay=0.0, momentum=0.9)
    # timm checks what an optimiser needs by assertions.
    except (AssertionError, ImportError, RuntimeError) as error:
        raise ValueError(f"--optimizer {name}: {first_line(error)}") from error


def build_optimizer(model: nn.Module, config: RunConfig, peak: float) -> torch.optim.Optimizer:
    """Build the optimiser for a model, sgd where none is named, at a learning rate of `peak`.

    Biases, norms and other vectors don't decay. `sgd` takes Nesterov's step (Sutskever et al. 2013,
    section 2), `momentum` the classical one. ValueError for a name that neither torch nor timm has.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups: ParameterGroups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    name = config.optimizer or "sgd"
    # timm would build these four alike, but its import costs 1.3 s of every start, its `sgd`
    # refuses a momentum of 0, and its defaults leave out the fused form.
    if name in ("sgd", "momentum"):
        nesterov = name == "sgd" and config.momentum > 0
        return torch.optim.SGD(
            groups, lr=peak, momentum=config.momentum, nesterov=nesterov, fused=True
        )
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=peak, fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    return _build_with_timm(
        groups, name, lr=peak, weight_decay=config.weight_decay, momentum=config.momentum
    )


def _build_with_timm(
    groups: ParameterGroups, name: str, *, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    import timm.optim

    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=name, lr=lr, weight_decay=weight_decay, momentum=momentum
    )
    return optimizer
