"""Augmentations as operations on batches, on whatever device the batch is; each sample has a draw of its own.

torchvision's transforms make one draw for a whole batch. What is drawn comes from `draws.py`.
"""

import difflib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.data.sampling import Boxes, Draws, Purpose, Samples
from bench.request.config import AUGMENTATIONS

NUM_LEVELS = 31
GREY = (0.2989, 0.587, 0.114)  # torchvision's weights, so that its results are met
Levels = NDArray[np.float64]
Operation = Callable[[torch.Tensor, Levels], torch.Tensor]


def trivial(
    images: torch.Tensor, kind: NDArray[np.int64], level: NDArray[np.int64], sign: NDArray[np.int64]
) -> torch.Tensor:
    """Do each image's (B, C, S, S) uint8 own operation.

    `kind` (B,) counts OPERATIONS, `level` (B,) is 0 to 30.
    """
    done = images.clone()
    for number, (operation, magnitudes, signed) in enumerate(OPERATIONS.values()):
        rows = np.flatnonzero(kind == number)
        if len(rows):
            magnitude = magnitudes[level[rows]] * (sign[rows] if signed else 1)
            where = torch.from_numpy(rows).to(images.device)
            done[where] = operation(images[where], magnitude)
    return done


def warp(
    images: torch.Tensor, matrices: NDArray[np.float64], *, mode: str = "nearest"
) -> torch.Tensor:
    """Move the pixels of each image (B, C, S, S) uint8 by its own matrix (B, 2, 3), black where nothing was.

    A matrix gives, in pixels from the centre, the place in the old image from which a pixel of the
    new one is taken.
    """
    theta = torch.from_numpy(matrices.astype(np.float32)).to(images.device)
    theta[:, :, 2] /= images.shape[-1] / 2
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return (
        functional.grid_sample(images.float(), grid, mode=mode, align_corners=False)
        .round()
        .to(torch.uint8)
    )


def turns(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the matrices (B, 2, 3) that turn images by these angles, against the clock."""
    angle = np.radians(degrees)
    matrices = np.zeros((len(angle), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 0, 1], matrices[:, 1, 0] = -np.sin(angle), np.sin(angle)
    return matrices


def _shift(column: int, row: int) -> Operation:
    """Make an operation that puts its level into one place of the matrix (column 2 moves, others shear)."""

    def operation(images: torch.Tensor, levels: Levels) -> torch.Tensor:
        matrices = np.tile(np.eye(2, 3), (len(levels), 1, 1))
        if column == 2:
            matrices[:, row, 2] = -np.trunc(levels)
        else:  # about the upper left corner
            matrices[:, row, column] = levels
            matrices[:, row, 2] = levels * images.shape[-1] / 2
        return warp(images, matrices)

    return operation


def _turn(images: torch.Tensor, degrees: Levels) -> torch.Tensor:
    return warp(images, turns(degrees))


def _blend(images: torch.Tensor, others: torch.Tensor | float, levels: Levels) -> torch.Tensor:
    """Go from the other image to this one and past it.

    Others + (1 + level) (images - others), cut to 0..255.
    """
    ratio = torch.from_numpy((1 + levels).astype(np.float32)).to(images.device)[:, None, None, None]
    return (images * ratio + others * (1 - ratio)).clamp(0, 255).to(torch.uint8)


def _grey(images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] == 1:
        return images.float()
    weights = torch.tensor(GREY, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def _brightness(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    return _blend(images, 0.0, levels)


def _colour(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    return images if images.shape[1] == 1 else _blend(images, _grey(images).floor(), levels)


def _contrast(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    return _blend(images, _grey(images).floor().mean((1, 2, 3), keepdim=True), levels)


def _sharpness(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Blend with the image smoothed by a 3x3 kernel of ones with 5 in the middle.

    The border stays.
    """
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.float()
    smooth[..., 1:-1, 1:-1] = functional.conv2d(smooth, kernel / 13, groups=channels).round()
    amount = torch.from_numpy(levels.astype(np.float32)).to(images.device)[:, None, None, None]
    return (images + amount * (images - smooth)).clamp(0, 255).to(torch.uint8)


def _posterize(images: torch.Tensor, bits: Levels) -> torch.Tensor:
    masks = torch.from_numpy((256 - 2.0 ** (8 - bits)).astype(np.uint8)).to(images.device)
    return images & masks[:, None, None, None]


def _solarize(images: torch.Tensor, shares: Levels) -> torch.Tensor:
    limits = torch.from_numpy((255 * shares).astype(np.float32)).to(images.device)[
        :, None, None, None
    ]
    return torch.where(images >= limits, 255 - images, images)


def _same(images: torch.Tensor, _: Levels) -> torch.Tensor:
    return images


def _autocontrast(images: torch.Tensor, _: Levels) -> torch.Tensor:
    from torchvision.transforms.v2 import (
        functional as v2,
    )  # brings torch's compiler: as long to import as torch

    stretched: torch.Tensor = v2.autocontrast(images)
    return stretched


def _equalize(images: torch.Tensor, _: Levels) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as v2

    equalized: torch.Tensor = v2.equalize(images)
    return equalized


def _levels(first: float, last: float) -> Levels:
    """Space the magnitudes evenly, in float32 as torchvision does.

    A limit on a pixel's value is a matter of a bit.
    """
    return torch.linspace(first, last, NUM_LEVELS).double().numpy()


NOTHING, SHARES, PIXELS = _levels(0, 0), _levels(0, 0.99), _levels(0, 32)
# Operation, its magnitude at each level, and whether it may also go the other way.
OPERATIONS: dict[str, tuple[Operation, Levels, bool]] = {
    "Identity": (_same, NOTHING, False),
    "ShearX": (_shift(1, 0), SHARES, True),
    "ShearY": (_shift(0, 1), SHARES, True),
    "TranslateX": (_shift(2, 0), PIXELS, True),
    "TranslateY": (_shift(2, 1), PIXELS, True),
    "Rotate": (_turn, _levels(0, 135), True),
    "Brightness": (_brightness, SHARES, True),
    "Color": (_colour, SHARES, True),
    "Contrast": (_contrast, SHARES, True),
    "Sharpness": (_sharpness, SHARES, True),
    "Posterize": (_posterize, np.round(8 - np.arange(NUM_LEVELS) / 5), False),
    "Solarize": (_solarize, _levels(1, 0), False),
    "AutoContrast": (_autocontrast, NOTHING, False),
    "Equalize": (_equalize, NOTHING, False),
}


LARGEST_ANGLE = 15.0  # degrees
COLOUR_DEVIATION = 0.1  # AlexNet's sigma


def check_augmentations(names: Sequence[str]) -> None:
    """Refuse a name that isn't one, with the nearest that is."""
    for name in names:
        if name not in AUGMENTATIONS:
            near = difflib.get_close_matches(name, AUGMENTATIONS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"unknown augmentation {name!r}: choose from {', '.join(AUGMENTATIONS)}{hint}"
            )


def augment_pixels(
    pixels: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> torch.Tensor:
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


def augment_images(
    images: torch.Tensor, names: Sequence[str], draws: Draws, samples: Samples
) -> torch.Tensor:
    """Blank parts of finished images (B, C, S, S) in place with the mean colour (zero).

    Cutout and erasing.
    """
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

    Returns the images and the weight (B,) of the images' own labels. The share is drawn evenly from
    0 to 1, Beta(1, 1), as both papers do for CIFAR (Zhang et al. 2018, Yun et al. 2019).
    """
    share = draws.uniform(Purpose.MIX_SHARE, samples)
    cut = (
        draws.below(Purpose.MIX_KIND, samples, 2) > 0
        if "mixup" in names
        else np.ones(len(samples), bool)
    )
    cut &= "cutmix" in names
    boxes = draws.mix_boxes(samples, share, images.shape[-1])
    weight = np.where(cut, 1 - boxes.area / images.shape[-1] ** 2, share)
    part = torch.from_numpy(weight.astype(np.float32)).to(images.device)
    is_cut = torch.from_numpy(cut).to(images.device)[:, None, None, None]
    own = torch.where(is_cut, (~inside(boxes, images)).to(images.dtype), part[:, None, None, None])
    return torch.lerp(others, images, own), part


def colour_axes(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the axes along which colours vary: (C, C), a column an axis, its length the deviation along it.

    Over all pixels of the stored images' `rows` on the scale 0 to 1. The lengths are the square
    roots of the covariance's eigenvalues, as in the code of AlexNet's author; the paper's words
    leave the root out (section 4.1).
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
    """Draw what PCA colour noise adds to each channel of each sample.

    (B, C) float32 on the scale 0 to 1.
    """
    amounts = COLOUR_DEVIATION * draws.normal(Purpose.COLOUR, samples, len(axes))
    return torch.from_numpy((amounts @ axes.T).astype(np.float32))
