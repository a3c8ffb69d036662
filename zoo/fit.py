"""Find out before training whether a network can read images of a size."""

import torch
from torch import nn

from zoo import registry

SIZES_TO_TRY = (28, 32, 48, 64, 75, 96, 128, 160, 192, 224, 256, 299, 331, 384, 512)


def check_image_size(
    name: str, image_size: int, *, num_classes: int = 100, in_channels: int = 3
) -> None:
    """Raise ValueError where a model can't read images of `image_size` px: what it can read, and which form to take.

    `in_channels` are those that it has. Runs the network without numbers, so that it takes no
    time and no memory.
    """
    with torch.device("meta"):
        model = registry.create_model(name, num_classes=num_classes).eval()
    if _reads(model, image_size, in_channels):
        return
    readable = [size for size in SIZES_TO_TRY if _reads(model, size, in_channels)]
    needs = (
        f"it reads {', '.join(map(str, readable))} px"
        if readable
        else "it reads none of the usual sizes"
    )
    small = f"{name}_cifar"
    form = f" or take {small}" if image_size <= 64 and registry.list_models(small) else ""
    advice = f"; set --image-size{form}" if readable else form
    raise ValueError(f"{name} can't read images of {image_size} px: {needs}{advice}")


def _reads(model: nn.Module, image_size: int, in_channels: int) -> bool:
    try:
        model(torch.empty(2, in_channels, image_size, image_size, device="meta"))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True
