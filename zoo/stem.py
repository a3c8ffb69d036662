"""Fit a network to other images: fewer strides for small ones, other channels for grey ones."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn


def read_channels(model: nn.Module, in_channels: int) -> nn.Module:
    """Make the first convolution read `in_channels` channels, and return the model.

    Its weights are drawn afresh if that is a change. Raise ValueError for a model without a
    convolution.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        kind = type(model).__name__
        raise ValueError(f"{kind} has no convolution to fit to {in_channels} channels")
    if first.in_channels != in_channels:
        first.in_channels = in_channels
        weight = first.weight.new_empty(first.out_channels, in_channels, *first.kernel_size)
        first.weight = nn.Parameter(weight)
        first.reset_parameters()  # torch's own, whatever the library drew: a new layer
    return model


def set_stride(model: nn.Module, name: str, stride: int) -> None:
    """Change the stride of one convolution or pool in place; its weights stay."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Conv2d | nn.MaxPool2d), f"{name} is a {type(layer).__name__}"
    layer.stride = (stride, stride)


def set_padding(model: nn.Module, name: str, padding: int) -> None:
    """Pad the input of one convolution by `padding` pixels on each side; its weights stay."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Conv2d), f"{name} is a {type(layer).__name__}"
    layer.padding = (padding, padding)


def leave_out(model: nn.Module, name: str) -> None:
    """Replace one module by the identity."""
    model.set_submodule(name, nn.Identity())


def adapt_stem(
    build: Callable[..., nn.Module],
    *,
    stride_1: Sequence[str] = (),
    without: Sequence[str] = (),
    then: Callable[[nn.Module], None] | None = None,
) -> Callable[..., nn.Module]:
    """Return the function that builds the form of a network for small images.

    The convolutions and pools named in `stride_1` keep their weights and lose their stride, the
    modules named in `without` become the identity, and `then` does what else there is to do:

        resnet18_cifar = adapt_stem(
            resnet18, without=("maxpool",), then=use_small_kernel("conv1")
        )
    """

    def build_adapted(
        *, num_classes: int = 100, in_channels: int = 3, **switches: Any
    ) -> nn.Module:
        model = build(num_classes=num_classes, in_channels=in_channels, **switches)
        for name in stride_1:
            set_stride(model, name, 1)
        for name in without:
            leave_out(model, name)
        if then is not None:
            then(model)
        return model

    # It takes the switches of what it adapts, so that they are checked.
    functools.update_wrapper(build_adapted, build)
    return build_adapted


def use_small_kernel(name: str) -> Callable[[nn.Module], None]:
    """Return a function that replaces one convolution by a 3x3 with stride 1 and padding 1.

    Its weights are drawn as in He et al. (2015).
    """

    def change(model: nn.Module) -> None:
        old = model.get_submodule(name)
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=old.bias is not None)
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        model.set_submodule(name, new)

    return change
