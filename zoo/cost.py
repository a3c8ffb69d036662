"""What a model costs, layer by layer: parameters, multiply-adds, activation bytes.

Counted on the `meta` device, where shapes exist and numbers don't, so that a network of any size
takes no time.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.spec import LayerCost

# Of convolutions and linear layers; attention's products of activations aren't counted.
COUNTED_OPERATIONS = frozenset({"aten.convolution", "aten._convolution", "aten.mm", "aten.addmm"})
FLOAT_BYTES = 4  # activations are counted in float32


@dataclass(frozen=True)
class Call:
    """What one call of a module wrote: its shape without the batch, and the bytes that are new."""

    shape: tuple[int, ...]
    num_bytes: int


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model; a shared one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def layer_costs(model: nn.Module, *, image_size: int, in_channels: int = 3) -> list[LayerCost]:
    """Count the layers that run on one (1, in_channels, image_size, image_size) image.

    Return them in the order in which they first ran. Multiply-adds are of convolutions and linear
    layers only, half of what `FlopCounterMode` counts for them. The model is left as it was. A
    module that holds others is a layer where it has parameters or multiply-adds of its own.
    """
    # In evaluation: batch normalisation refuses the single pixel that some networks end with.
    meta = _copy_to_meta(model).eval()
    calls: dict[str, list[Call]] = {}
    with _recording(meta, calls), FlopCounterMode(display=False) as counter:
        meta(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    counts = MultiplyAdds(meta, counter.get_flop_counts())
    layers = [_cost_layer(meta, name, made, counts) for name, made in calls.items()]
    return [layer for layer in layers if layer is not None]


class MultiplyAdds:
    """The multiply-adds of a model's modules, from what `FlopCounterMode` counted for each.

    It counts for a module all that ran within it, under its path behind the class of the model:
    `LeNet5.conv1`.
    """

    def __init__(self, model: nn.Module, flops: Mapping[str, Mapping[Any, int]]) -> None:
        self.model = model
        self.flops = flops

    def of(self, name: str) -> int:
        """Return the multiply-adds of a module with those of the modules in it."""
        counted = self.flops.get(self._key(name), {})
        flops = 0
        for operation, count in counted.items():
            if str(operation) in COUNTED_OPERATIONS:
                flops += count
        return flops // 2  # a multiply-add is two operations

    def own(self, name: str) -> int:
        """Return the multiply-adds of a module without those of the modules in it."""
        return self.of(name) - self._inner(name)

    def _inner(self, name: str) -> int:
        """Return the multiply-adds of the modules in a module.

        A list of modules is never called itself, so that nothing is counted for it: what it holds
        is asked instead.
        """
        inner = 0
        for child, _ in self.model.get_submodule(name).named_children():
            path = f"{name}.{child}".lstrip(".")
            was_called = self._key(path) in self.flops
            inner += self.of(path) if was_called else self._inner(path)
        return inner

    def _key(self, name: str) -> str:
        kind = type(self.model).__name__
        return f"{kind}.{name}" if name else kind


def _cost_layer(
    model: nn.Module, name: str, calls: list[Call], counts: MultiplyAdds
) -> LayerCost | None:
    """Join what a module wrote with what it computed itself; None where it is no layer."""
    module = model.get_submodule(name)
    if isinstance(module, nn.Identity):
        return None
    num_parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    multiply_adds = counts.own(name)
    holds_others = next(module.children(), None) is not None
    if holds_others and not num_parameters and not multiply_adds:
        return None
    return LayerCost(
        name=name,
        kind=type(module).__name__,
        output_shape=calls[-1].shape,  # of a layer that runs several times, the last one's
        num_parameters=num_parameters,
        multiply_adds=multiply_adds,
        activation_bytes=sum(call.num_bytes for call in calls),
    )


@contextmanager
def _recording(model: nn.Module, calls: dict[str, list[Call]]) -> Iterator[None]:
    """Note every call of every module, by its name, while the context lasts."""
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        # A layer that works in place returns the very tensor that it was given.
        in_place = any(output is value for value in inputs)
        num_bytes = 0 if in_place else FLOAT_BYTES * output.numel()
        made = calls.setdefault(names[module], [])
        made.append(Call(tuple(output.shape[1:]), num_bytes))

    handles = [module.register_forward_hook(note) for module in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copy_to_meta(model: nn.Module) -> nn.Module:
    """Copy a model to the `meta` device without copying its numbers.

    `deepcopy` takes for every tensor what its memo holds already.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return deepcopy(model, memo)


def total_stride(model: nn.Module, *, image_size: int, in_channels: int = 3) -> int:
    """Return how many pixels of the image one pixel of the last maps stands for, along a side.

    The product of the strides of convolutions and pooling, where branches that go from one size to
    the same other one count once. Pooling that averages everything that is left is not a stride.
    """
    meta = _copy_to_meta(model).eval()
    strides: dict[tuple[int, int], int] = {}  # by the side before and after

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before = inputs[0].shape[-1]
        after = output.shape[-1]
        stride: Any = module.stride
        if not isinstance(stride, int):
            stride = stride[-1]
        averages_all = isinstance(module, nn.AvgPool2d) and after == 1
        if stride > 1 and not averages_all:
            strides[before, after] = stride

    for module in meta.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            module.register_forward_hook(note)
    meta(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return math.prod(strides.values())


def try_layer_costs(model: nn.Module, *, image_size: int, in_channels: int = 3) -> list[LayerCost]:
    """Count as `layer_costs` does; empty where a network can't run without numbers.

    One that looks at its activations may train all the same: what can't be counted isn't refused.
    """
    try:
        return layer_costs(model, image_size=image_size, in_channels=in_channels)
    except Exception:  # anything that a network's own code may raise
        return []


def try_total_stride(model: nn.Module, *, image_size: int) -> int | None:
    """Return `total_stride`, None where a network can't run without numbers."""
    try:
        return total_stride(model, image_size=image_size)
    except Exception:  # anything that a network's own code may raise
        return None
