"""Dropout and stochastic depth at a rate that is asked for, where a model has them."""

from dataclasses import replace
from typing import Any

from torch import nn

from zoo.alexnet import Figure
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
    ValueError for a model that hasn't what is asked for.
    """
    if spec.source == "timm":
        return _of_timm(spec, num_classes, {"drop_rate": dropout, "drop_path_rate": drop_path})
    model = create_model(spec.name, num_classes=num_classes)
    if dropout is not None and not set_dropout(model, dropout):
        raise ValueError(
            f"--dropout {dropout}: {spec.name} has no dropout; leave one of the two away"
        )
    if drop_path is not None and not set_drop_path(model, drop_path):
        raise ValueError(
            f"--drop-path {drop_path}: {spec.name} has no stochastic depth; leave one of the two away"
        )
    return model


def _of_timm(spec: ModelSpec, num_classes: int, rates: dict[str, float | None]) -> nn.Module:
    """timm puts its layers in only where a rate is given when the model is built."""
    asked: dict[str, Any] = {name: rate for name, rate in rates.items() if rate is not None}
    try:
        return create_model(spec.name, num_classes=num_classes, **asked)
    except TypeError as error:
        if not any(name in str(error) for name in asked):
            raise
        flags = ", ".join("--dropout" if name == "drop_rate" else "--drop-path" for name in asked)
        raise ValueError(
            f"{flags}: {spec.name} of timm can't be built so ({error}); leave it away"
        ) from error


def set_dropout(model: nn.Module, rate: float) -> bool:
    """Give every dropout of a model that drops anything this rate; says whether there was one."""
    found = False
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            module.p, found = rate, True
        elif isinstance(module, Figure):
            module.design, found = replace(module.design, dropout=rate), True
    return found


def set_drop_path(model: nn.Module, rate: float) -> bool:
    """Scale torchvision's stochastic depth to this rate at the deepest block.

    Says whether there was any.
    """
    from torchvision.ops import StochasticDepth

    layers = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    deepest = max((layer.p for layer in layers), default=0.0)
    for layer in layers:
        layer.p *= rate / deepest if deepest else 0.0
    return deepest > 0
