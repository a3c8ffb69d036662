"""TrivialAugment (Müller and Hutter 2021, the wide space, as torchvision has it): one of 14 operations at one of 31
levels for each sample, as operations on the samples that drew the same one.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

NUM_LEVELS = 31
GREY = (0.2989, 0.587, 0.114)  # torchvision's weights, so that its results are met
Levels = NDArray[np.float64]
Operation = Callable[[torch.Tensor, Levels], torch.Tensor]


def trivial(
    images: torch.Tensor, kind: NDArray[np.int64], level: NDArray[np.int64], sign: NDArray[np.int64]
) -> torch.Tensor:
    """Do each image's (B, C, S, S) uint8 own operation: `kind` (B,) counts OPERATIONS, `level` (B,) is 0 to 30."""
    done = images.clone()
    for number, (operation, magnitudes, signed) in enumerate(OPERATIONS.values()):
        rows = np.flatnonzero(kind == number)
        if len(rows):
            magnitude = magnitudes[level[rows]] * (sign[rows] if signed else 1)
            where = torch.from_numpy(rows).to(images.device)
            done[where] = operation(images[where], magnitude)
    return done


def warp(images: torch.Tensor, matrices: NDArray[np.float64], *, mode: str = "nearest") -> torch.Tensor:
    """Move the pixels of each image (B, C, S, S) uint8 by its own matrix (B, 2, 3), black where nothing was.

    A matrix gives, in pixels from the centre, the place in the old image from which a pixel of the new one is taken.
    """
    theta = torch.from_numpy(matrices.astype(np.float32)).to(images.device)
    theta[:, :, 2] /= images.shape[-1] / 2
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images.float(), grid, mode=mode, align_corners=False).round().to(torch.uint8)


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
    """Go from the other image to this one and past it: others + (1 + level) (images - others), cut to 0..255."""
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
    """Blend with the image smoothed by a 3x3 kernel of ones with 5 in the middle; the border stays."""
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
    limits = torch.from_numpy((255 * shares).astype(np.float32)).to(images.device)[:, None, None, None]
    return torch.where(images >= limits, 255 - images, images)


def _same(images: torch.Tensor, _: Levels) -> torch.Tensor:
    return images


def _autocontrast(images: torch.Tensor, _: Levels) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as v2  # brings torch's compiler: as long to import as torch

    stretched: torch.Tensor = v2.autocontrast(images)
    return stretched


def _equalize(images: torch.Tensor, _: Levels) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as v2

    equalized: torch.Tensor = v2.equalize(images)
    return equalized


def _levels(first: float, last: float) -> Levels:
    """Space the magnitudes evenly, in float32 as torchvision does: a limit on a pixel's value is a matter of a bit."""
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
