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
    """Each pixel's gradient, put into the maps of all orientations up to its own.

    Maps (N, C, H, W) to (N, num, H, W): map k has the length of a gradient that is turned by at
    least 180 k / num degrees, and 0 elsewhere. The difference of two neighbouring maps is what lies
    between their bounds; it is left to whoever has made means of them, which are fewer.
    """

    def __init__(self, num: int = 9) -> None:
        super().__init__()
        self.num = num
        turned = [1 / math.tan(math.pi * number / num) for number in range(1, num)]
        bounds = torch.tensor([math.inf, *turned])[:, None, None]
        self.register_buffer("bounds", bounds, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, num, H, W)."""
        right, down, length = steepest_gradient(images)
        # The cotangent falls from infinity to minus infinity as a gradient is turned from 0 to 180
        # degrees, and doesn't know its sign: no angle need be computed. Level is 0 degrees.
        turned = torch.nan_to_num(right / down, nan=math.inf, posinf=math.inf, neginf=math.inf)
        # In place the comparison gives numbers: by `where` it would take ten times as long.
        maps = turned.repeat(1, self.num, 1, 1).le_(self.get_buffer("bounds"))
        return maps.mul_(length)


def steepest_gradient(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pixel's gradient to the right, downwards, and its length; all (N, 1, H, W).

    Differences of the two neighbours, 0 at the border, of the channel where they are largest.
    """
    images = images.contiguous()  # channels are compared as maps
    right, down = torch.zeros_like(images), torch.zeros_like(images)
    right[..., 1:-1] = images[..., 2:]
    right[..., 1:-1] -= images[..., :-2]
    down[..., 1:-1, :] = images[..., 2:, :]
    down[..., 1:-1, :] -= images[..., :-2, :]
    squared = right.square().add_(down.square())
    steepest = [part[:, :1] for part in (right, down, squared)]
    # Channel by channel: argmax and gather take longer.
    for channel in range(1, images.shape[1]):
        other = [part[:, channel : channel + 1] for part in (right, down, squared)]
        is_steeper = other[2].clone().gt_(steepest[2])
        # Of 0 and 1 this takes one or the other, exactly.
        steepest = [torch.lerp(*pair, is_steeper) for pair in zip(steepest, other, strict=True)]
    return steepest[0], steepest[1], steepest[2].sqrt()


class Hog(nn.Module):
    """Blocks of 2x2 cells of orientation histograms: (N, 4 num_orientations, rows, columns).

    `cells` is a module that makes cells of pixels by means; a block's cells are `apart` of its
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
        cells = torch.cat([cells[:, :-1] - cells[:, 1:], cells[:, -1:]], dim=1)
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
