"""What a model costs, layer by layer: parameters, multiply-adds, activation bytes.

Counted on the `meta` device, where shapes exist and numbers don't, so that a network of any size
takes no time.
"""

import math
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.multiply_adds import MultiplyAdds, tensors_in
from zoo.spec import PRODUCTS, LayerCost

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
    layers, counted for the module whose own code asks for them. A module that holds others is a
    layer where it has parameters or multiply-adds of its own. Then come modules that have
    parameters and are never called, and one row for products of activations, if there are any,
    which `zoo.spec.total_multiply_adds` leaves out. The model is left as it was.
    """
    # In evaluation: batch normalisation refuses the single pixel that some networks end with.
    meta = copy_to_meta(model).eval()
    images = torch.empty(1, in_channels, image_size, image_size, device="meta")
    counted = MultiplyAdds(images)
    calls: dict[str, list[Call]] = {}
    with _without_fast_path(), _recording(meta, calls, counted.path), counted:
        meta(images)
    layers = []
    for name, made in calls.items():
        layer = _cost_layer(meta.get_submodule(name), name, made, counted.of_layers[name])
        if layer is not None:
            layers.append(layer)
    layers += _idle_layers(meta, calls.keys())
    if counted.of_products:
        layers.append(_make_row("", PRODUCTS, multiply_adds=counted.of_products))
    return layers


def _cost_layer(
    module: nn.Module, name: str, calls: list[Call], multiply_adds: int
) -> LayerCost | None:
    """Join what a module wrote with what it computed itself; None where it is no layer."""
    if isinstance(module, nn.Identity):
        return None
    num_parameters = _count_own(module)
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


def _idle_layers(model: nn.Module, called: Container[str]) -> list[LayerCost]:
    """List the modules whose parameters another one reads, or nobody: they are never called."""
    rows = []
    for name, module in model.named_modules():
        num_parameters = _count_own(module)
        if num_parameters and name not in called:
            rows.append(_make_row(name, type(module).__name__, num_parameters=num_parameters))
    return rows


def _make_row(
    name: str, kind: str, *, num_parameters: int = 0, multiply_adds: int = 0
) -> LayerCost:
    """Return the row of something that writes no output of its own."""
    return LayerCost(
        name=name,
        kind=kind,
        output_shape=(),
        num_parameters=num_parameters,
        multiply_adds=multiply_adds,
        activation_bytes=0,
    )


def _count_own(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


@contextmanager
def _recording(model: nn.Module, calls: dict[str, list[Call]], path: list[str]) -> Iterator[None]:
    """Note every call of every module, by its name, and keep the path to the one that runs."""
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        path.append(names[module])

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        path.pop()
        written = list(tensors_in(output))
        num_bytes = 0
        for tensor in written:
            # A layer that works in place returns the very tensor that it was given.
            if not any(tensor is value for value in inputs):
                num_bytes += FLOAT_BYTES * tensor.numel()
        shape = tuple(written[0].shape[1:]) if written else ()
        made = calls.setdefault(names[module], [])
        made.append(Call(shape, num_bytes))

    handles = []
    for module in names:
        # Before the module's own hooks, which may compute: weight normalisation is one.
        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        # Also after an exception, which the module above may catch.
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Have attention computed step by step: torch's fused form of it hides its linear layers."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def build_empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model on the `meta` device, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=()):
        try:
            with torch.device("meta"):
                return build()
        except Exception:
            # Some networks read numbers while they are built, as torchvision's RegNets do. Whatever
            # else is wrong comes up again.
            return copy_to_meta(build())


def copy_to_meta(model: nn.Module) -> nn.Module:
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
    meta = copy_to_meta(model).eval()
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


def try_total_stride(model: nn.Module, *, image_size: int, in_channels: int = 3) -> int | None:
    """Return `total_stride`, None where a network can't run without numbers."""
    try:
        return total_stride(model, image_size=image_size, in_channels=in_channels)
    except Exception:  # anything that a network's own code may raise
        return None
