"""Dense SIFT (Lowe 2004; on a grid: Lazebnik, Schmid, Ponce 2006), of whole batches.

The same histograms as `skimage.feature.SIFT` computes at a point, here at one scale, upright, and
at every place: 4x4 cells of eight orientations, shared among neighbouring cells and orientations
and weighted by a Gaussian. What differs from place to place is only which pixels are read, so that
each cell is a convolution of the maps of orientations.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.grey import to_grey
from zoo.hog import normalise_blocks

SIDE, NUM_ORIENTATIONS = 4, 8
NUM_SIFT = SIDE**2 * NUM_ORIENTATIONS


class DenseSift(nn.Module):
    """Descriptors `stride` pixels apart, of cells of `cell` pixels: (N, C, H, W) to (N, 128, h, w).

    A place is described from the pixels around it alone, so that there are none near the border.
    """

    def __init__(self, *, cell: float = 3, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("kernels", _make_kernels(cell), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) pixels from 0 to 255 to (N, 128, rows, columns)."""
        maps = spread_orientations(to_grey(images))
        kernels = self.get_buffer("kernels").to(maps.dtype)
        cells = F.conv2d(maps.flatten(0, 1)[:, None], kernels[:, None], stride=self.stride)
        # Cells row by row, each with its orientations.
        maps_of_cells = cells.view(images.shape[0], NUM_ORIENTATIONS, *cells.shape[1:])
        histograms = maps_of_cells.transpose(1, 2).flatten(1, 2)
        return normalise_blocks(histograms)


def spread_orientations(grey: Tensor) -> Tensor:
    """Map (N, 1, H, W) to (N, 8, H, W): each gradient's length, shared by the two nearest maps.

    Orientations are counted from downwards to the right, as scikit-image has them.
    """
    down, right = (_find_slope(grey[:, 0], dimension) for dimension in (1, 2))
    place = torch.atan2(right, down) * NUM_ORIENTATIONS / (2 * math.pi)
    length = (down.square() + right.square()).sqrt()
    maps = []
    for number in range(NUM_ORIENTATIONS):
        # Around the circle: the distance to a map, at most half of them.
        distance = (place - number).remainder(NUM_ORIENTATIONS)
        distance = torch.minimum(distance, NUM_ORIENTATIONS - distance)
        maps.append(length * (1 - distance).clamp(min=0))
    return torch.stack(maps, dim=1)


def _find_slope(grey: Tensor, dimension: int) -> Tensor:
    """Return (N, H, W) central differences along a dimension, at the border one-sided ones.

    What `torch.gradient` gives, which can't be exported for batches of any size.
    """
    inner = grey.shape[dimension] - 2
    between = (grey.narrow(dimension, 2, inner) - grey.narrow(dimension, 0, inner)) / 2
    first = grey.narrow(dimension, 1, 1) - grey.narrow(dimension, 0, 1)
    last = grey.narrow(dimension, inner + 1, 1) - grey.narrow(dimension, inner, 1)
    return torch.cat([first, between, last], dim=dimension)


def _make_kernels(cell: float) -> Tensor:
    """Return what each pixel around a place counts in each cell, (16, size, size)."""
    reach = SIDE // 2 * cell  # of the cells' middles, and the Gaussian's deviation
    radius = reach * (1 + 1 / SIDE)
    most = math.ceil(radius) - 1
    places = torch.arange(-most, most + 1, dtype=torch.double)
    middles = (torch.arange(SIDE, dtype=torch.double) - (SIDE - 1) / 2) * cell
    shares = (1 - (places - middles[:, None]).abs() / cell).clamp(min=0)
    shares = shares * torch.exp(-places.square() / (2 * reach**2))
    kernels = shares[:, None, :, None] * shares[None, :, None, :]
    return kernels.flatten(0, 1).float()
