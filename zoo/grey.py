"""Colour to grey, for descriptors that read one channel."""

import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def to_grey(images: Tensor) -> Tensor:
    """Map (N, C, H, W) pixels from 0 to 255 to (N, 1, H, W), in whole levels as they are stored."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True).round()
