"""Dropout and stochastic depth at a rate that is asked for, where a model has them."""

from dataclasses import replace
from typing import Any

from torch import nn

from zoo.alexnet import AlexNetForm
from zoo.registry import create_model
from zoo.spec import ModelSpec


def build_regularised(
    spec: ModelSpec,
    num_classes: int,
    *,
    dropout: float | None = None,
    drop_path: float | None = None,
) -> nn.Module:
    """Build a model whose dropout and stochastic depth have these rates instead of its own.

    Stochastic depth grows with depth, up to `drop_path` at the last block (Huang et al. 2016).
    Raise ValueError for a model that lacks what is asked for.
    """
    if spec.source == "timm":
        return _build_timm(spec, num_classes, dropout, drop_path)
    model = create_model(spec.name, num_classes=num_classes)
    if dropout is not None and not set_dropout(model, dropout):
        raise ValueError(f"--dropout {dropout}: {spec.name} has no dropout; drop one of the two")
    if drop_path is not None and not set_drop_path(model, drop_path):
        raise ValueError(
            f"--drop-path {drop_path}: {spec.name} has no stochastic depth; drop one of the two"
        )
    return model


def _build_timm(
    spec: ModelSpec, num_classes: int, dropout: float | None, drop_path: float | None
) -> nn.Module:
    """Let timm set the rates: it puts such layers in only where a rate is given from the start."""
    rates: dict[str, Any] = {}
    flags = []
    if dropout is not None:
        rates["drop_rate"] = dropout
        flags.append("--dropout")
    if drop_path is not None:
        rates["drop_path_rate"] = drop_path
        flags.append("--drop-path")
    try:
        return create_model(spec.name, num_classes=num_classes, **rates)
    except ValueError as error:
        # timm hands its options on to a network's own constructor, which refuses those it lacks.
        if not any(name in str(error) for name in rates):
            raise
        raise ValueError(
            f"{', '.join(flags)}: {spec.name} of timm can't be built so ({error}); leave it out"
        ) from error


def set_dropout(model: nn.Module, rate: float) -> bool:
    """Give every dropout of a model that drops anything this rate; return whether one did."""
    found = False
    for module in model.modules():
        # torch's dropouts of one, two and three dimensions have no other class in common.
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            module.p = rate
            found = True
        elif isinstance(module, AlexNetForm):
            module.design = replace(module.design, dropout=rate)
            found = True
    return found


def set_drop_path(model: nn.Module, rate: float) -> bool:
    """Scale torchvision's stochastic depth to this rate at the deepest block.

    Return whether there was any.
    """
    from torchvision.ops import StochasticDepth  # nested: torchvision takes seconds to import

    layers = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    deepest = max((layer.p for layer in layers), default=0.0)
    if deepest == 0:
        return False
    for layer in layers:
        layer.p *= rate / deepest
    return True
