"""Optimisers by name: torch's own, and all that timm has."""

from fnmatch import fnmatchcase
from functools import cache, wraps
from typing import Any

import torch
from torch import nn

from bench.request.config import OPTIMIZERS, RunConfig
from zoo.cause import first_line
from zoo.suggest import unknown

# In the names of parameters of two dimensions and more that no input is multiplied by.
NO_WEIGHTS = ("bias", "token", "embed", "scale", "temperature")

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

    Only weights decay (`list_decaying`). `sgd` takes Nesterov's step (Sutskever et al. 2013,
    section 2), `momentum` the classical one. ValueError for a name that neither torch nor timm has.
    """
    decaying = list_decaying(model)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    weights = [parameter for name, parameter in trained.items() if name in decaying]
    others = [parameter for name, parameter in trained.items() if name not in decaying]
    groups: ParameterGroups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
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


def list_decaying(model: nn.Module) -> set[str]:
    """List the parameters that decay: those that a layer multiplies its input by.

    Not biases, norms and other vectors, whatever their shape, nor tokens and embeddings, nor what
    a model or a part of it names in `no_weight_decay()`, as timm's do.
    """
    decaying = set()
    spared = []
    for place, module in model.named_modules():
        prefix = f"{place}." if place else ""
        names = getattr(module, "no_weight_decay", None)
        if callable(names):
            spared += [prefix + name for name in names()]
        if isinstance(module, nn.Embedding):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and not any(word in name for word in NO_WEIGHTS):
                decaying.add(prefix + name)
    # Some of timm's names are patterns: `pos_embed.*`.
    return {name for name in decaying if not any(fnmatchcase(name, one) for one in spared)}


def _build_with_timm(
    groups: ParameterGroups, name: str, *, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    import timm.optim

    if "muon" in name:
        _orthogonalise_in_float32()
    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=name, lr=lr, weight_decay=weight_decay, momentum=momentum
    )
    return optimizer


@cache
def _orthogonalise_in_float32() -> None:
    """Have timm's Muon multiply in float32 on a CPU.

    It has no option for that. Its bfloat16 products take 35 times as long on a processor without
    bfloat16, and then three times as long as the rest of the step (LAB.md).
    """
    from timm.optim import muon

    original = muon.zeropower_via_newtonschulz

    @wraps(original)
    def orthogonalise(matrix: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if matrix.device.type == "cpu":
            options["dtype"] = torch.float32
        return original(matrix, *args, **options)

    muon.zeropower_via_newtonschulz = orthogonalise  # type: ignore[assignment]
