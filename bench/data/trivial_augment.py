"""TrivialAugment (Müller and Hutter 2021): to each image one operation at a random strength.

The operations of torchvision's TrivialAugmentWide, with a draw for each sample instead of one for a
whole batch. What is drawn comes from `sampling.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

NUM_LEVELS = 31
LUMINANCE = (0.2989, 0.587, 0.114)  # as torchvision's augmentations round BT.601

Levels = NDArray[np.float64]
Operation = Callable[[torch.Tensor, Levels], torch.Tensor]


def apply_trivial(
    images: torch.Tensor, kind: NDArray[np.int64], level: NDArray[np.int64], sign: NDArray[np.int64]
) -> torch.Tensor:
    """Do to each of the images (B, C, S, S) uint8 its own operation.

    `kind` (B,) counts OPERATIONS, `level` (B,) is 0 to 30, `sign` (B,) is 1 or -1.
    """
    changed = images.clone()
    for number, choice in enumerate(OPERATIONS.values()):
        rows = np.flatnonzero(kind == number)
        if not len(rows):
            continue
        magnitudes = choice.magnitudes[level[rows]]
        if choice.signed:
            magnitudes = magnitudes * sign[rows]
        where = torch.from_numpy(rows).to(images.device)
        changed[where] = choice.operation(images[where], magnitudes)
    return changed


def warp(
    images: torch.Tensor, matrices: NDArray[np.float64], *, mode: str = "nearest"
) -> torch.Tensor:
    """Move the pixels of each image (B, C, S, S) uint8 by its own matrix (B, 2, 3).

    A matrix gives, in pixels from the centre, the place in the old image from which a pixel of the
    new one is taken; it is black where nothing was.
    """
    theta = torch.from_numpy(matrices.astype(np.float32)).to(images.device)
    theta[:, :, 2] /= images.shape[-1] / 2  # affine_grid counts from -1 to 1 across the image
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images.float(), grid, mode=mode, align_corners=False)
    return moved.round().to(torch.uint8)


def rotate(
    images: torch.Tensor, degrees: NDArray[np.float64], *, mode: str = "nearest"
) -> torch.Tensor:
    """Turn each image (B, C, S, S) uint8 by its own angle about its centre, anticlockwise.

    Black where nothing was.
    """
    angle = np.radians(degrees)
    matrices = np.zeros((len(angle), 2, 3))
    matrices[:, 0, 0] = np.cos(angle)
    matrices[:, 0, 1] = -np.sin(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 1, 1] = np.cos(angle)
    return warp(images, matrices, mode=mode)


def _identity_matrices(levels: Levels) -> NDArray[np.float64]:
    return np.tile(np.eye(2, 3), (len(levels), 1, 1))


def shear(images: torch.Tensor, levels: Levels, *, row: int) -> torch.Tensor:
    """Shear along x (row 0) or y (row 1) about the upper left corner, as torchvision does."""
    matrices = _identity_matrices(levels)
    matrices[:, row, 1 - row] = levels
    # Matrices count from the centre: this holds the corner in place.
    matrices[:, row, 2] = levels * images.shape[-1] / 2
    return warp(images, matrices)


def translate(images: torch.Tensor, levels: Levels, *, row: int) -> torch.Tensor:
    """Move by whole pixels along x (row 0) or y (row 1)."""
    matrices = _identity_matrices(levels)
    # Negative, since a matrix says where a pixel is taken from.
    matrices[:, row, 2] = -np.trunc(levels)
    return warp(images, matrices)


def _per_image(values: Levels, images: torch.Tensor) -> torch.Tensor:
    """Lay one value an image out as (B, 1, 1, 1) float32 beside the images."""
    laid_out = values.astype(np.float32)[:, None, None, None]
    return torch.from_numpy(laid_out).to(images.device)


def _blend(images: torch.Tensor, others: torch.Tensor | float, levels: Levels) -> torch.Tensor:
    """Go from the other image to this one and past it.

    others + (1 + level) (images - others), cut to 0..255.
    """
    ratio = _per_image(1 + levels, images)
    blended = images * ratio + others * (1 - ratio)
    return blended.clamp(0, 255).to(torch.uint8)


def _to_grey(images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] == 1:
        return images.float()
    weights = torch.tensor(LUMINANCE, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def brighten(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Blend with black."""
    return _blend(images, 0.0, levels)


def saturate(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Blend with the image's own grey; grey images stay."""
    if images.shape[1] == 1:
        return images
    return _blend(images, _to_grey(images).floor(), levels)


def change_contrast(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Blend with the mean of the image's own grey."""
    mean = _to_grey(images).floor().mean((1, 2, 3), keepdim=True)
    return _blend(images, mean, levels)


def sharpen(images: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Blend with the image smoothed by a 3x3 kernel of ones with 5 in the middle.

    The border stays.
    """
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.float()
    inside = functional.conv2d(smooth, kernel / 13, groups=channels)
    smooth[..., 1:-1, 1:-1] = inside.round()
    # Not `_blend`: torchvision's sums come in this order here, and another order is another bit.
    sharp = images + _per_image(levels, images) * (images - smooth)
    return sharp.clamp(0, 255).to(torch.uint8)


def posterize(images: torch.Tensor, bits: Levels) -> torch.Tensor:
    """Keep the upper `bits` of each value."""
    # 8 bits: 256 - 1 keeps all; 7 bits: 256 - 2 clears the lowest.
    masks = (256 - 2.0 ** (8 - bits)).astype(np.uint8)[:, None, None, None]
    return images & torch.from_numpy(masks).to(images.device)


def solarize(images: torch.Tensor, shares: Levels) -> torch.Tensor:
    """Invert the values from a limit on, a share of 255."""
    limits = _per_image(255 * shares, images)
    return torch.where(images >= limits, 255 - images, images)


def leave_as_is(images: torch.Tensor, _: Levels) -> torch.Tensor:
    """Change nothing."""
    return images


def autocontrast(images: torch.Tensor, _: Levels) -> torch.Tensor:
    """Stretch each channel to the full range of values."""
    # Imported here: v2 brings torch's compiler, which takes as long to import as torch itself.
    from torchvision.transforms.v2 import functional as v2

    stretched: torch.Tensor = v2.autocontrast(images)
    return stretched


def equalize(images: torch.Tensor, _: Levels) -> torch.Tensor:
    """Spread each channel's values evenly over the range."""
    # Imported here, as above.
    from torchvision.transforms.v2 import functional as v2

    equalized: torch.Tensor = v2.equalize(images)
    return equalized


def _spaced(first: float, last: float) -> Levels:
    """Space the magnitudes of the levels evenly.

    In float32 as torchvision does: whether a pixel is above a limit is a matter of a bit.
    """
    return torch.linspace(first, last, NUM_LEVELS).double().numpy()


@dataclass(frozen=True)
class Choice:
    """An operation, its magnitude at each level, and whether it may also go the other way."""

    operation: Operation
    magnitudes: Levels
    signed: bool = False


NONE = _spaced(0, 0)
SHARES = _spaced(0, 0.99)
PIXELS = _spaced(0, 32)
DEGREES = _spaced(0, 135)
BITS = np.round(8 - np.arange(NUM_LEVELS) / 5)
LIMITS = _spaced(1, 0)  # as shares of the brightest value

# In torchvision's order, which the draws count.
OPERATIONS = {
    "Identity": Choice(leave_as_is, NONE),
    "ShearX": Choice(partial(shear, row=0), SHARES, signed=True),
    "ShearY": Choice(partial(shear, row=1), SHARES, signed=True),
    "TranslateX": Choice(partial(translate, row=0), PIXELS, signed=True),
    "TranslateY": Choice(partial(translate, row=1), PIXELS, signed=True),
    "Rotate": Choice(rotate, DEGREES, signed=True),
    "Brightness": Choice(brighten, SHARES, signed=True),
    "Color": Choice(saturate, SHARES, signed=True),
    "Contrast": Choice(change_contrast, SHARES, signed=True),
    "Sharpness": Choice(sharpen, SHARES, signed=True),
    "Posterize": Choice(posterize, BITS),
    "Solarize": Choice(solarize, LIMITS),
    "AutoContrast": Choice(autocontrast, NONE),
    "Equalize": Choice(equalize, NONE),
}
