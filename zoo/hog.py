"""Histograms of oriented gradients (Dalal, Triggs 2005), of whole batches.

The same numbers as `skimage.feature.hog` gives image by image: unsigned orientations without
interpolation, of the channel with the steepest gradient, and blocks normalised by L2-Hys.
"""

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-5  # of a block's norm, as scikit-image has it
MOST = 0.2  # of a block's values after its first normalisation: no single edge outweighs the rest


class Orientations(nn.Module):
    """Each pixel's gradient, put into the map of its orientation.

    Maps (N, C, H, W) to (N, num, H, W): the length of the gradient in one of `num` maps, each of
    which stands for 180 / num degrees, and zeros in the others.
    """

    def __init__(self, num: int = 9) -> None:
        super().__init__()
        self.num = num

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, num, H, W)."""
        right, down, length = steepest_gradient(images)
        # Turned by 180 degrees where it points upwards: an orientation has no sign.
        is_upwards = (down < 0) | ((down == 0) & (right < 0))
        sign = torch.where(is_upwards, -1.0, 1.0).to(images.dtype)
        right, down = right * sign, down * sign
        # A gradient is past a bound if it lies to the left of that direction. No angle is computed:
        # it would be slower, and rounded.
        index = torch.zeros_like(length, dtype=torch.int8)
        for number in range(1, self.num):
            bound = math.pi * number / self.num
            index += math.cos(bound) * down >= math.sin(bound) * right
        maps = [torch.where(index == number, length, 0) for number in range(self.num)]
        return torch.cat(maps, dim=1)


def steepest_gradient(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pixel's gradient to the right, downwards, and its length; all (N, 1, H, W).

    Differences of the two neighbours, 0 at the border, of the channel where they are largest.
    """
    right, down = torch.zeros_like(images), torch.zeros_like(images)
    right[..., 1:-1] = images[..., 2:] - images[..., :-2]
    down[..., 1:-1, :] = images[..., 2:, :] - images[..., :-2, :]
    squared = right.square() + down.square()
    steepest = [part[:, :1] for part in (right, down, squared)]
    # Channel by channel: argmax and gather take four times as long.
    for channel in range(1, images.shape[1]):
        other = [part[:, channel : channel + 1] for part in (right, down, squared)]
        is_steeper = other[2] > steepest[2]
        pairs = zip(other, steepest, strict=True)
        steepest = [torch.where(is_steeper, new, old) for new, old in pairs]
    return steepest[0], steepest[1], steepest[2].sqrt()


class Hog(nn.Module):
    """Blocks of 2x2 cells of orientation histograms: (N, 4 num_orientations, rows, columns).

    `cells` is a pooling module that makes cells of pixels; a block's cells are `apart` of its
    outputs from each other. In a block the cells come row by row, each with its histogram.
    """

    def __init__(self, cells: nn.Module, *, apart: int = 1, num_orientations: int = 9) -> None:
        super().__init__()
        self.orientations = Orientations(num_orientations)
        self.cells = cells
        self.apart = apart

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4 num_orientations, rows, columns)."""
        cells = self.cells(self.orientations(images))
        rows, columns = cells.shape[2] - self.apart, cells.shape[3] - self.apart
        parts = []
        for y in (0, self.apart):
            for x in (0, self.apart):
                parts.append(cells[:, :, y : y + rows, x : x + columns])
        return normalise_blocks(torch.cat(parts, dim=1))


def normalise_blocks(blocks: Tensor) -> Tensor:
    """Normalise (N, D, rows, columns) along D: L2, cut off at 0.2, L2 again."""
    return _divide_by_norm(_divide_by_norm(blocks).clamp(max=MOST))


def _divide_by_norm(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(dim=1, keepdim=True) + EPSILON**2).sqrt()
