"""Augmentations as operations on batches, on whatever device the batch is; each sample has a draw of its own.

torchvision's transforms make one draw for a whole batch. What is drawn comes from `draws.py`.
"""

import difflib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.sampling import Boxes, Draws, Purpose, Samples
from bench.request.config import AUGMENTATIONS
from bench.trivial import NUM_LEVELS, OPERATIONS, trivial, turns, warp

LARGEST_ANGLE = 15.0  # degrees
COLOUR_DEVIATION = 0.1  # AlexNet's sigma


def check_augmentations(names: Sequence[str]) -> None:
    """Refuse a name that isn't one, with the nearest that is."""
    for name in names:
        if name not in AUGMENTATIONS:
            near = difflib.get_close_matches(name, AUGMENTATIONS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown augmentation {name!r}: choose from {', '.join(AUGMENTATIONS)}{hint}")


def augment_pixels(pixels: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples) -> torch.Tensor:
    """Do what works on stored values: trivial and rotation, on (B, S, S, C) uint8."""
    images = pixels.permute(0, 3, 1, 2)
    if "trivial" in names:
        kind = draws.below(Purpose.TRIVIAL_KIND, samples, len(OPERATIONS))
        level = draws.below(Purpose.TRIVIAL_LEVEL, samples, NUM_LEVELS)
        sign = 1 - 2 * draws.below(Purpose.TRIVIAL_SIGN, samples, 2)
        images = trivial(images, kind, level, sign)
    if "rotation" in names:
        images = rotate(images, LARGEST_ANGLE * (2 * draws.uniform(Purpose.ANGLE, samples) - 1))
    return images.permute(0, 2, 3, 1).contiguous()


def rotate(images: torch.Tensor, degrees: NDArray[np.float64]) -> torch.Tensor:
    """Turn each image (B, C, S, S) uint8 by its own angle about its centre, bilinear, black outside."""
    return warp(images, turns(degrees), mode="bilinear")


def augment_images(images: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples) -> torch.Tensor:
    """Blank parts of finished images (B, C, S, S) in place with the mean colour (zero): cutout and erasing."""
    size = images.shape[-1]
    if "cutout" in names:
        images.masked_fill_(inside(draws.cutout_boxes(samples, size), images), 0)
    if "erasing" in names:
        images.masked_fill_(inside(draws.erasing_boxes(samples, size), images), 0)
    return images


def inside(boxes: Boxes, images: torch.Tensor) -> torch.Tensor:
    """Make the mask (B, 1, S, S) of the boxes' pixels, on the images' device."""
    line = np.arange(images.shape[-1])
    rows = (line >= boxes.top[:, None]) & (line < boxes.bottom[:, None])
    columns = (line >= boxes.left[:, None]) & (line < boxes.right[:, None])
    down, across = (torch.from_numpy(part).to(images.device) for part in (rows, columns))
    return down[:, None, :, None] & across[:, None, None, :]


def mix(
    images: torch.Tensor, others: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image (B, C, S, S) with its partner by mixup or cutmix, by one of the two in turn where both are named.

    Returns the images and the weight (B,) of the images' own labels. The share is drawn evenly from 0 to 1, Beta(1, 1),
    as both papers do for CIFAR (Zhang et al. 2018, Yun et al. 2019).
    """
    share = draws.uniform(Purpose.MIX_SHARE, samples)
    cut = draws.below(Purpose.MIX_KIND, samples, 2) > 0 if "mixup" in names else np.ones(len(samples), bool)
    cut &= "cutmix" in names
    boxes = draws.mix_boxes(samples, share, images.shape[-1])
    weight = np.where(cut, 1 - boxes.area / images.shape[-1] ** 2, share)
    part = torch.from_numpy(weight.astype(np.float32)).to(images.device)
    is_cut = torch.from_numpy(cut).to(images.device)[:, None, None, None]
    own = torch.where(is_cut, (~inside(boxes, images)).to(images.dtype), part[:, None, None, None])
    return torch.lerp(others, images, own), part


def colour_axes(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the axes along which colours vary: (C, C), a column an axis, its length the deviation along it.

    Over all pixels of the stored images' `rows` on the scale 0 to 1. The lengths are the square roots of the
    covariance's eigenvalues, as in the code of AlexNet's author; the paper's words leave the root out (section 4.1).
    """
    channels = images.shape[-1]
    total, products, num_pixels = np.zeros(channels), np.zeros((channels, channels)), 0
    for start in range(0, len(rows), 1024):
        pixels = images[rows[start : start + 1024]].reshape(-1, channels).astype(np.float32)
        total += pixels.sum(0, dtype=np.float64)
        products += (pixels.T @ pixels).astype(np.float64)
        num_pixels += len(pixels)
    mean = total / num_pixels
    values, vectors = np.linalg.eigh((products / num_pixels - np.outer(mean, mean)) / 255**2)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def colour_noise(axes: NDArray[np.float64], draws: Draws, samples: Samples) -> torch.Tensor:
    """Draw what PCA colour noise adds to each channel of each sample: (B, C) float32 on the scale 0 to 1."""
    amounts = COLOUR_DEVIATION * draws.normal(Purpose.COLOUR, samples, len(axes))
    return torch.from_numpy((amounts @ axes.T).astype(np.float32))
