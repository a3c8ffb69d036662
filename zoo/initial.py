"""Initialisation that lets networks without normalisation leave chance soon."""

import torch
from torch import nn


def centre_filters(model: nn.Module) -> None:
    """Subtract its mean from every filter that reads the output of another layer, in place.

    What a ReLU or a pool gives is never negative, so its mean over an image adds the same to the
    scores of all images and drowns what tells them apart. A filter of mean 0 doesn't see it (weight
    standardisation, Qiao et al. 2019, arXiv 1903.10520, at the start alone).
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers[1:]:  # layers[0] reads the image itself
            inputs = tuple(range(1, layer.weight.ndim))
            layer.weight -= layer.weight.mean(dim=inputs, keepdim=True)
