"""Local binary patterns (Ojala, Pietikäinen, Mäenpää 2002), of whole batches.

The same codes as `skimage.feature.local_binary_pattern(…, 8, 1, "nri_uniform")` gives: 59 of them,
one for each uniform pattern of eight neighbours at distance 1, and one for all others.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.grey import to_grey

NUM_NEIGHBOURS = 8
DIAGONAL = 0.70711  # of a distance of 1 along either side, as scikit-image rounds it
NUM_PATTERNS = NUM_NEIGHBOURS * (NUM_NEIGHBOURS - 1) + 3


def number_pattern(bits: int) -> int:
    """Return the code of a pattern, whose bit i says that neighbour i is no darker."""
    ring = [bits >> place & 1 for place in range(NUM_NEIGHBOURS)]
    changes = sum(before != after for before, after in pairwise(ring))
    if changes > 2:
        return NUM_PATTERNS - 1
    num_ones = sum(ring)
    if num_ones == 0:
        return 0
    if num_ones == NUM_NEIGHBOURS:
        return NUM_PATTERNS - 2
    # Patterns of as many ones differ by where they begin.
    turn = num_ones - ring.index(0) if ring[0] else NUM_NEIGHBOURS - ring.index(1)
    return 1 + (num_ones - 1) * NUM_NEIGHBOURS + turn


class Lbp(nn.Module):
    """Histograms of patterns over cells: (N, C, H, W) to (N, 59, rows, columns).

    `cells` says how many cells there are along a side; without it as many as fit of `pixels` pixels
    each, which share what is left over.
    """

    def __init__(self, *, cells: int | None = None, pixels: int = 1) -> None:
        super().__init__()
        self.cells, self.pixels = cells, pixels
        numbers = torch.tensor([number_pattern(bits) for bits in range(2**NUM_NEIGHBOURS)])
        self.register_buffer("numbers", numbers, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) pixels from 0 to 255 to the share of each pattern in each cell."""
        codes = self.find_codes(images)
        height, width = codes.shape[1:]
        num_rows = self.cells or height // self.pixels
        num_columns = self.cells or width // self.pixels
        rows = _find_cells(height, num_rows, codes.device)
        columns = _find_cells(width, num_columns, codes.device)
        # Pixels are counted where they are, in a histogram of all cells: as one of 59 maps a
        # pattern would take ten times as long.
        cell = rows[:, None] * num_columns + columns
        num_cells = num_rows * num_columns
        place = (codes * num_cells + cell).flatten(1)
        counts = images.new_zeros(codes.shape[0], NUM_PATTERNS * num_cells)
        counts.scatter_add_(1, place, torch.ones_like(place, dtype=counts.dtype))
        sizes = torch.ones_like(cell, dtype=counts.dtype).flatten()
        sizes = counts.new_zeros(num_cells).scatter_add(0, cell.flatten(), sizes)
        shares = counts.view(-1, NUM_PATTERNS, num_cells) / sizes
        return shares.view(-1, NUM_PATTERNS, num_rows, num_columns)

    def find_codes(self, images: Tensor) -> Tensor:
        """Return each pixel's code, (N, H, W) from 0 to 58."""
        grey = to_grey(images)[:, 0]
        bits = torch.zeros_like(grey)
        for place, neighbour in _find_beside(grey):
            # In place a comparison gives numbers: as truths it would take four times as long.
            bits.add_(neighbour.ge_(grey), alpha=2**place)
        # In double precision and in scikit-image's order of operations: where a neighbour is as
        # light as its pixel, the last bit of their interpolated value decides.
        exact = grey.double()
        diagonal_bits = torch.zeros_like(exact)
        for place, neighbour in _find_diagonal(exact):
            diagonal_bits.add_(neighbour.ge_(exact), alpha=2**place)
        bits = diagonal_bits.add_(bits).long()
        # By index_select: indexing takes six times as long.
        return self.get_buffer("numbers").index_select(0, bits.flatten()).view(bits.shape)


def _find_cells(size: int, num_cells: int, device: torch.device) -> Tensor:
    """Return the cell of each of `size` pixels along a side."""
    return torch.arange(size, device=device) * num_cells // size


def _find_beside(grey: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the four neighbours in a pixel's row and column, each with its place in the ring.

    The ring runs anticlockwise from the right, in steps of 45 degrees. Of (N, H, W) pixels, each
    neighbour is an (N, H, W) tensor of its own; beyond the border they are 0.
    """
    height, width = grey.shape[1:]
    padded = F.pad(grey, (1, 1, 1, 1))
    for place, (row, column) in ((0, (1, 2)), (2, (0, 1)), (4, (1, 0)), (6, (2, 1))):
        yield place, padded[:, row : row + height, column : column + width].clone()


def _find_diagonal(grey: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the four neighbours between rows and columns likewise, interpolated along each."""
    height, width = grey.shape[1:]
    padded = F.pad(grey, (1, 1, 1, 1))
    up, down = _Between(height, -DIAGONAL, grey), _Between(height, DIAGONAL, grey)
    left, right = _Between(width, -DIAGONAL, grey), _Between(width, DIAGONAL, grey)
    for places, side in (((1, 7), right), ((3, 5), left)):
        columns = side.interpolate(padded, 2)
        for place, end in zip(places, (up, down), strict=True):
            yield place, end.interpolate(columns, 1)


class _Between:
    """What lies `distance`, of less than 1, from each of `size` places along a side."""

    def __init__(self, size: int, distance: float, like: Tensor) -> None:
        # Of each place, not of the distance: it is rounded so.
        places = torch.arange(size, dtype=like.dtype, device=like.device) + distance
        self.far = places - places.floor()
        self.near = 1 - self.far
        self.first = 1 + math.floor(distance)

    def interpolate(self, padded: Tensor, dimension: int) -> Tensor:
        """Return values along a dimension of (N, H, W), without its border of 1 pixel."""
        size = len(self.far)
        shape = (-1, 1) if dimension == 1 else (-1,)
        near, far = (padded.narrow(dimension, self.first + more, size) for more in (0, 1))
        return (self.near.view(shape) * near).add_(self.far.view(shape) * far)
