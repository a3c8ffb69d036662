"""Find out before training whether a network can read images of a size."""

import torch
from torch import nn

from zoo import registry

SIZES_TO_TRY = (28, 32, 48, 64, 75, 96, 128, 160, 192, 224, 256, 299, 331, 384, 512)  # pixels
LARGEST_SMALL = 64  # pixels: up to here a form for 32 px is worth naming


def check_image_size(
    name: str, image_size: int, *, num_classes: int = 100, in_channels: int = 3
) -> None:
    """Raise ValueError where a model can't read images of `image_size` px.

    It says what the model can read, and which form to take. `in_channels` are those that it has.
    Runs the network without numbers, so that it takes no time and no memory.
    """
    model = registry.create_empty(name, num_classes=num_classes).eval()
    if _reads(model, image_size, in_channels):
        return
    small = f"{name}_cifar"
    has_small = image_size <= LARGEST_SMALL and bool(registry.list_models(small))
    form = f" or take {small}" if has_small else ""
    readable = [str(size) for size in SIZES_TO_TRY if _reads(model, size, in_channels)]
    if readable:
        needs = f"it reads {', '.join(readable)} px; set --image-size{form}"
    else:
        needs = f"it reads none of the usual sizes{form}"
    raise ValueError(f"{name} can't read images of {image_size} px: {needs}")


def _reads(model: nn.Module, image_size: int, in_channels: int) -> bool:
    try:
        model(torch.empty(2, in_channels, image_size, image_size, device="meta"))
    except (RuntimeError, ValueError, AssertionError):
        # A map that has become too small, or another number of units than a linear layer reads;
        # timm asserts the size that its transformers were built for.
        return False
    return True
