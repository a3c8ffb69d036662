"""Means over square cells, for descriptors that pool many maps of small images."""

from torch import Tensor, nn


class CellMeans(nn.AvgPool2d):
    """Means over cells of `size` pixels a side, `stride` pixels apart (by default side by side).

    `nn.AvgPool2d` in all but the last bits and time: on a CPU that one goes pixel by pixel, where
    sums of shifted maps are vectorised.
    """

    def __init__(self, size: int, stride: int | None = None) -> None:
        super().__init__(size, stride)
        self.size, self.apart = size, stride or size

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, rows, columns)."""
        # Rows first: they lie together, and leave fewer columns to be summed up.
        return self._sum_along(self._sum_along(maps, 2), 3) / self.size**2

    def _sum_along(self, maps: Tensor, dimension: int) -> Tensor:
        num_cells = (maps.shape[dimension] - self.size) // self.apart + 1
        reach = (num_cells - 1) * self.apart + 1
        before = (slice(None),) * dimension
        sums = maps[(*before, slice(0, reach, self.apart))].clone()
        for first in range(1, self.size):
            sums += maps[(*before, slice(first, first + reach, self.apart))]
        return sums
