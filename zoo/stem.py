"""Fit a network to other images: fewer strides for small ones, another number of channels for grey ones."""

from torch import nn


def read_channels(model: nn.Module, in_channels: int) -> nn.Module:
    """Make the first convolution read `in_channels` channels, with fresh weights if that is a change.

    ValueError for a model without a convolution.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise ValueError(f"{type(model).__name__} has no convolution to fit to {in_channels} channels")
    if first.in_channels != in_channels:
        first.in_channels = in_channels
        first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, in_channels, *first.kernel_size))
        first.reset_parameters()
    return model


def set_stride(model: nn.Module, name: str, stride: int) -> None:
    """Change the stride of one convolution in place; its weights stay."""
    convolution = model.get_submodule(name)
    assert isinstance(convolution, nn.Conv2d), f"{name} is a {type(convolution).__name__}"
    convolution.stride = (stride, stride)


def leave_out(model: nn.Module, name: str) -> None:
    """Replace one module by the identity."""
    model.set_submodule(name, nn.Identity())
