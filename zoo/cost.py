"""What a model costs, layer by layer: parameters, multiply-adds, activation bytes.

Counted on the `meta` device, where shapes exist and numbers don't, so that a network of any size
takes no time.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.spec import LayerCost

COUNTED_OPERATIONS = frozenset({"aten.convolution", "aten._convolution", "aten.mm", "aten.addmm"})


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model; a shared one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def layer_costs(model: nn.Module, *, image_size: int, in_channels: int = 3) -> list[LayerCost]:
    """Count the layers that run on one (1, in_channels, image_size, image_size) image, in the order they first ran.

    Multiply-adds are of convolutions and linear layers only, half of what `FlopCounterMode` counts
    for them. The model is left as it was. A module that holds others is a layer where it has
    parameters or multiply-adds of its own.
    """
    meta = _on_meta(model).eval()
    outputs: dict[str, list[tuple[tuple[int, ...], int]]] = {}
    with _recording(meta, outputs), FlopCounterMode(display=False) as counter:
        meta(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return list(_layers(meta, outputs, counter.get_flop_counts()))


def _layers(
    model: nn.Module, outputs: dict[str, Any], flops: dict[str, dict[Any, int]]
) -> Iterator[LayerCost]:
    """Join what each module wrote with what it computed itself."""
    for name, calls in outputs.items():
        module = model.get_submodule(name)
        num_parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        multiply_adds = _own_multiply_adds(model, name, flops)
        if isinstance(module, nn.Identity):
            continue
        if any(True for _ in module.children()) and not num_parameters and not multiply_adds:
            continue
        yield LayerCost(
            name=name,
            kind=type(module).__name__,
            output_shape=calls[-1][0],
            num_parameters=num_parameters,
            multiply_adds=multiply_adds,
            activation_bytes=sum(size for _, size in calls),
        )


def _own_multiply_adds(model: nn.Module, name: str, flops: dict[str, dict[Any, int]]) -> int:
    """Multiply-adds of a module without those of the modules in it."""
    return _multiply_adds(model, name, flops) - _inner_multiply_adds(model, name, flops)


def _inner_multiply_adds(model: nn.Module, name: str, flops: dict[str, dict[Any, int]]) -> int:
    """Multiply-adds of the modules in a module, through lists of modules that are never called themselves."""
    inner = 0
    for child, _ in model.get_submodule(name).named_children():
        path = f"{name}.{child}".lstrip(".")
        was_called = f"{type(model).__name__}.{path}" in flops
        inner += (
            _multiply_adds(model, path, flops)
            if was_called
            else _inner_multiply_adds(model, path, flops)
        )
    return inner


def _multiply_adds(model: nn.Module, name: str, flops: dict[str, dict[Any, int]]) -> int:
    counted = flops.get(f"{type(model).__name__}.{name}" if name else type(model).__name__, {})
    return (
        sum(count for operation, count in counted.items() if str(operation) in COUNTED_OPERATIONS)
        // 2
    )


@contextmanager
def _recording(
    model: nn.Module, outputs: dict[str, list[tuple[tuple[int, ...], int]]]
) -> Iterator[None]:
    """Note the shape and bytes of every module's output, by name, while the context lasts."""

    def note(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            in_place = any(output is value for value in inputs)
            outputs.setdefault(name, []).append(
                (tuple(output.shape[1:]), 0 if in_place else 4 * output.numel())
            )

    handles = [
        module.register_forward_hook(
            lambda _, inputs, output, name=name: note(name, inputs, output)
        )
        for name, module in model.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_meta(model: nn.Module) -> nn.Module:
    """Copy a model to the `meta` device without copying its numbers."""
    memo: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = (
            nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_parameter else empty
        )
    return deepcopy(model, memo)


def total_stride(model: nn.Module, *, image_size: int, in_channels: int = 3) -> int:
    """Say how many pixels of the image one pixel of the last maps stands for, along a side.

    The product of the strides of convolutions and pooling, where branches that go from one size to
    the same other one count once. Pooling that averages everything that is left is not a stride.
    """
    meta = _on_meta(model).eval()
    strides: dict[tuple[int, int], int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = inputs[0].shape[-1], output.shape[-1]
        stride: Any = module.stride
        stride = stride if isinstance(stride, int) else stride[-1]
        averages_all = isinstance(module, nn.AvgPool2d) and after == 1
        if stride > 1 and not averages_all:
            strides[before, after] = stride

    for module in meta.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            module.register_forward_hook(note)
    meta(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return math.prod(strides.values())
