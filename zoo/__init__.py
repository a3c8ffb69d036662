"""Models and what is known of them. Importing this package imports no torch.

    import zoo

    zoo.list_models("alexnet*")                         # our models' specs
    zoo.resolve("timm:resnet18", num_classes=10)        # any model's spec
    zoo.create_model("resnet18_cifar", num_classes=10)  # a torch.nn.Module with fresh weights
    zoo.fast(model)                                     # the same model, trained faster on a CPU

A name is one of ours, `tv:NAME`, `timm:NAME` or `FILE.py:FUNCTION`, with or without switches behind
an `@` (zoo/registry.py). Whatever is wrong with a request is a ValueError of one line.
"""

from typing import TYPE_CHECKING

from zoo.registry import check_name, create_model, expand, list_models, resolve
from zoo.spec import LayerCost, ModelSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "LayerCost",
    "ModelSpec",
    "check_name",
    "create_model",
    "expand",
    "fast",
    "list_models",
    "resolve",
]


def fast(model: "nn.Module") -> "nn.Module":
    """Make a model train faster on a CPU, in place, and return it.

    The same sums, within float32's rounding. 1x1 convolutions become matrix products (in
    channels-last), and convolutions on maps smaller than their kernel leave out the taps that meet
    only the border. That is chosen by shape, by a rule from convolutions timed beside torch's
    (LAB.md); the rest runs as before.

    Only modules of the very class `torch.nn.Conv2d` change, and only in their class: parameters,
    names, state dicts and references stay. Those with a `padding_mode` other than zeros, hooks or
    parametrisations are left alone. A module whose first map is no smaller than its kernel is a
    plain `Conv2d` again after that call. On other devices, compiled, exported or under autocast,
    small maps are convolved by torch as before.
    """
    # Imported here: the package needs no torch until a model is built.
    from zoo.kernel import use_fast_kernels

    return use_fast_kernels(model)
