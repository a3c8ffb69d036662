"""Whose convolutions a model has: the library's own, or those that are faster on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from zoo.layer import PointwiseConv2d, is_pointwise
from zoo.small_map import SmallMapConv2d, can_have_small_map

FAST = (PointwiseConv2d, SmallMapConv2d)


def use_fast_kernels(model: nn.Module) -> nn.Module:
    """Make a model's plain convolutions fast ones where they can be, in place; return the model.

    `zoo.fast` says more.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            # The class is changed, as torch's own LazyConv2d becomes a Conv2d. Putting another
            # module in its place would lose what its owner keeps besides the name: references in
            # lists, a module that stands under two names, the root.
            if is_pointwise(module):
                module.__class__ = PointwiseConv2d
            elif can_have_small_map(module):
                module.__class__ = SmallMapConv2d
    return model


@contextmanager
def library_kernels(model: nn.Module) -> Iterator[None]:
    """Give a model the library's own convolutions for as long as this lasts."""
    kinds: dict[nn.Module, type[nn.Module]] = {
        module: type(module) for module in model.modules() if type(module) in FAST
    }
    for module in kinds:
        module.__class__ = nn.Conv2d
    try:
        yield
    finally:
        for module, kind in kinds.items():
            module.__class__ = kind


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether a convolution has a border of zeros, and nobody has hooked into it."""
    hooks = (
        conv._forward_hooks,
        conv._forward_pre_hooks,
        conv._backward_hooks,
        conv._backward_pre_hooks,
    )
    return conv.padding_mode == "zeros" and not any(hooks)
