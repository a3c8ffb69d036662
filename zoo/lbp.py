"""Local binary patterns (Ojala, Pietikäinen, Mäenpää 2002), of whole batches.

The same codes as `skimage.feature.local_binary_pattern(…, 8, 1, "nri_uniform")` gives: 59 of them,
one for each uniform pattern of eight neighbours at distance 1, and one for all others.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.grey import to_grey

NUM_NEIGHBOURS = 8
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

    `cells` says how many cells there are along a side; without it each is of `pixels` pixels.
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
        counts = counts.scatter_add(1, place, torch.ones_like(place, dtype=counts.dtype))
        sizes = torch.ones_like(cell, dtype=counts.dtype).flatten()
        sizes = counts.new_zeros(num_cells).scatter_add(0, cell.flatten(), sizes)
        shares = counts.view(-1, NUM_PATTERNS, num_cells) / sizes
        return shares.view(-1, NUM_PATTERNS, num_rows, num_columns)

    def find_codes(self, images: Tensor) -> Tensor:
        """Return each pixel's code, (N, H, W) from 0 to 58."""
        # In double precision and in scikit-image's order of operations: where a neighbour is as
        # light as its pixel, the last bit of their interpolated value decides.
        grey = to_grey(images).double()
        bits = torch.zeros_like(grey, dtype=torch.int32)
        for place, neighbour in enumerate(_find_ring(grey)):
            # Not a truth times a number: that is of 64 bits, and takes most of the time.
            bits.add_((neighbour >= grey).int(), alpha=2**place)
        return self.get_buffer("numbers")[bits.long()][:, 0]


def _find_cells(size: int, num_cells: int, device: torch.device) -> Tensor:
    """Return the cell of each of `size` pixels along a side."""
    return torch.arange(size, device=device) * num_cells // size


def _find_ring(grey: Tensor) -> list[Tensor]:
    """Return each pixel's eight neighbours on a circle of radius 1, anticlockwise from the right.

    Pixels beyond the border are 0.
    """
    padded = F.pad(grey, (1, 1, 1, 1))
    between: dict[float, Tensor] = {}
    ring = []
    for place in range(NUM_NEIGHBOURS):
        angle = 2 * math.pi * place / NUM_NEIGHBOURS
        down, right = round(-math.sin(angle), 5), round(math.cos(angle), 5)
        if right not in between:
            between[right] = _move(padded, 3, right)
        ring.append(_move(between[right], 2, down))
    return ring


def _move(padded: Tensor, dimension: int, distance: float) -> Tensor:
    """Return values from a distance of at most 1 along a dimension, and that without its border."""
    size = padded.shape[dimension] - 2
    first = 1 + math.floor(distance)
    near = padded.narrow(dimension, first, size)
    if distance == math.floor(distance):
        return near
    # Of each place, not of the distance: it is rounded so.
    places = torch.arange(size, dtype=padded.dtype, device=padded.device) + distance
    share = places - places.floor()
    share = share[:, None] if dimension == 2 else share
    return (1 - share) * near + share * padded.narrow(dimension, first + 1, size)
