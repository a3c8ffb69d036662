"""Augmentations as operations on batches, on whatever device the batch is.

Each sample has a draw of its own, where torchvision's transforms make one for a whole batch. What
is drawn comes from `sampling.py`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.data.sampling import Boxes, Draws, Purpose, Samples
from bench.data.trivial_augment import NUM_LEVELS, OPERATIONS, apply_trivial, rotate

LARGEST_ANGLE = 15.0  # degrees
COLOUR_DEVIATION = 0.1  # AlexNet's sigma (Krizhevsky et al. 2012, section 4.1)
CHUNK = 1024  # images whose pixels are held as floats at a time


def augment_pixels(
    pixels: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> torch.Tensor:
    """Do what works on stored values, `trivial` and `rotation`, to (B, S, S, C) uint8."""
    images = pixels.permute(0, 3, 1, 2)
    if "trivial" in names:
        kind = draws.integers(Purpose.TRIVIAL_KIND, samples, len(OPERATIONS))
        level = draws.integers(Purpose.TRIVIAL_LEVEL, samples, NUM_LEVELS)
        sign = 1 - 2 * draws.integers(Purpose.TRIVIAL_SIGN, samples, 2)
        images = apply_trivial(images, kind, level, sign)
    if "rotation" in names:
        degrees = LARGEST_ANGLE * (2 * draws.uniform(Purpose.ANGLE, samples) - 1)
        images = rotate(images, degrees, mode="bilinear")
    return images.permute(0, 2, 3, 1).contiguous()


def resize_boxes(pixels: torch.Tensor, boxes: Boxes, size: int) -> torch.Tensor:
    """Return a box of each image (B, P, P, C) uint8 as (B, size, size, C) uint8.

    Bilinear and antialiased, as torchvision's `resized_crop`.
    """
    images = pixels.permute(0, 3, 1, 2)
    resized = []
    # Boxes have a size each: no operation takes them all at once.
    for image, top, left, bottom, right in zip(images, *boxes_as_lists(boxes), strict=True):
        box = image[None, :, top:bottom, left:right]
        # As floats, since a GPU has no resizing of bytes.
        resized.append(functional.interpolate(box.float(), size, mode="bilinear", antialias=True))
    return torch.cat(resized).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def boxes_as_lists(boxes: Boxes) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return the boxes' tops, lefts, bottoms and rights as Python's numbers."""
    sides = (boxes.top, boxes.left, boxes.bottom, boxes.right)
    top, left, bottom, right = (side.tolist() for side in sides)
    return top, left, bottom, right


def augment_images(
    images: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> torch.Tensor:
    """Blank parts of finished images (B, C, S, S), in place, for `cutout` and `erasing`.

    With zero, which is the mean colour of a normalised image.
    """
    size = images.shape[-1]
    if "cutout" in names:
        images.masked_fill_(mask_boxes(draws.cutout_boxes(samples, size), images), 0)
    if "erasing" in names:
        images.masked_fill_(mask_boxes(draws.erasing_boxes(samples, size), images), 0)
    return images


def mask_boxes(boxes: Boxes, images: torch.Tensor) -> torch.Tensor:
    """Return which pixels are inside the boxes, (B, 1, S, S) bool on the images' device."""
    rows = _mark_between(boxes.top, boxes.bottom, images)
    columns = _mark_between(boxes.left, boxes.right, images)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _mark_between(
    first: NDArray[np.int64], end: NDArray[np.int64], images: torch.Tensor
) -> torch.Tensor:
    """Mark the places first <= i < end along a side of the images, (B, S) bool on their device."""
    line = np.arange(images.shape[-1])
    marked = (line >= first[:, None]) & (line < end[:, None])
    return torch.from_numpy(marked).to(images.device)


def mix_images(
    images: torch.Tensor, others: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image (B, C, S, S) with its partner by `mixup` or `cutmix`, or a draw of the two.

    Returns the images and the weight (B,) float32 of the images' own labels. The share is drawn
    evenly from 0 to 1, Beta(1, 1), as both papers do for CIFAR (Zhang et al. 2018, Yun et al.
    2019).
    """
    size = images.shape[-1]
    share = draws.uniform(Purpose.MIX_SHARE, samples)
    boxes = draws.mix_boxes(samples, share, size)
    is_cut = _draw_is_cut(names, draws, samples)
    # CutMix weighs labels by the pixels that are left, and clipping may have left more than drawn.
    share_left = 1 - boxes.area / size**2
    weight = np.where(is_cut, share_left, share).astype(np.float32)
    own_weight = torch.from_numpy(weight).to(images.device)
    by_box = torch.from_numpy(is_cut).to(images.device)
    kept_pixels = (~mask_boxes(boxes, images)).to(images.dtype)
    # One interpolation does both: CutMix is a mix whose weights are 0 or 1, pixel by pixel.
    evenly = own_weight[:, None, None, None]
    own_share = torch.where(by_box[:, None, None, None], kept_pixels, evenly)
    return torch.lerp(others, images, own_share), own_weight


def _draw_is_cut(names: Sequence[str], draws: Draws, samples: Samples) -> NDArray[np.bool_]:
    """Return which samples are mixed by CutMix: one in two where both kinds are named."""
    if "mixup" not in names:
        return np.ones(len(samples), bool)
    if "cutmix" not in names:
        return np.zeros(len(samples), bool)
    return draws.integers(Purpose.MIX_KIND, samples, 2) > 0


def find_colour_axes(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the axes along which colours vary, (C, C): a column an axis.

    Over all pixels of `rows` of the images (N, S, S, C), which come without their margin: zeros
    around an image are no colours of it. On the scale 0 to 1. An axis's length is the standard
    deviation along it, the square root of the covariance's eigenvalue, as in the code of AlexNet's
    author; the paper's words leave the root out (section 4.1).
    """
    channels = images.shape[-1]
    total = np.zeros(channels)
    products = np.zeros((channels, channels))
    num_pixels = 0
    for start in range(0, len(rows), CHUNK):
        stored = images[rows[start : start + CHUNK]]
        pixels = stored.reshape(-1, channels).astype(np.float32)
        total += pixels.sum(0, dtype=np.float64)
        products += (pixels.T @ pixels).astype(np.float64)
        num_pixels += len(pixels)
    mean = total / num_pixels
    covariance = products / num_pixels - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance / 255**2)
    # Rounding may leave an eigenvalue of zero a little below it.
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def draw_colour_noise(axes: NDArray[np.float64], draws: Draws, samples: Samples) -> torch.Tensor:
    """Draw what PCA colour noise adds to each channel of each sample.

    (B, C) float32 on the scale 0 to 1.
    """
    amounts = COLOUR_DEVIATION * draws.normal(Purpose.COLOUR, samples, len(axes))
    return torch.from_numpy((amounts @ axes.T).astype(np.float32))
