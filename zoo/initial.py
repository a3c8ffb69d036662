"""Weights to start from, for networks without normalisation, that let them leave chance soon."""

import torch
from torch import nn


def centre_filters(model: nn.Module) -> None:
    """Take from every filter that reads the maps of another layer its mean.

    What a ReLU or a pool gives is never negative, so that its mean over an image adds the same to
    all images' scores and drowns what tells them apart. A filter of mean 0 doesn't see it (weight
    standardisation, Qiao et al. 2019, arXiv 1903.10520, at the start alone).
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers[1:]:
            layer.weight -= layer.weight.mean(dim=tuple(range(1, layer.weight.ndim)), keepdim=True)
