"""A network with all that its pictures go through, as one module: from pixels to probabilities.

It is what is exported, and so every step is one that torch.export, ONNX and its runtimes do alike.
Their own resizing isn't: onnxruntime's antialiasing is off by up to 12 levels of 255, and OpenVINO
passes it over without a word. As two matrix products it is the same everywhere.
"""

import torch
from torch import Tensor, nn

from bench.data.pixels import LUMINANCE
from bench.deploy.model_info import Transform


class Pipeline(nn.Module):
    """Maps pixels (N, H, W, channels) uint8 of any size to probabilities and scores (N, classes).

    With `channels_first` the pixels are (N, channels, H, W). What is done is what `Transform` says.
    """

    def __init__(
        self, network: nn.Module, transform: Transform, *, channels_first: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.channels_first = channels_first
        self.short_side, self.side = transform.short_side, transform.side
        self.pixel_channels, self.in_channels = transform.channels, transform.in_channels
        self.channels = max(transform.channels, transform.in_channels)
        per_channel = torch.tensor([transform.mean, transform.std], dtype=torch.float64)
        mean, std = per_channel.expand(2, self.channels)
        # (value / 255 - mean) / std as one multiply-add, as in training.
        self.scale = nn.Buffer((1 / (255 * std)).float()[:, None, None])
        self.shift = nn.Buffer((-mean / std).float()[:, None, None])
        self.luminance = nn.Buffer(torch.tensor(LUMINANCE)[:, None, None])
        self.resize = transform.image_size != transform.side
        extent, size = torch.tensor(transform.side), torch.tensor(transform.image_size)
        start, centres = torch.tensor(0), list_centres(transform.side)
        self.rows = nn.Buffer(filter_rows(centres, extent, size, start, transform.image_size))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.network(self.normalise(self.take_squares(pixels)))
        return scores.softmax(dim=1), scores

    def take_squares(self, pixels: Tensor) -> Tensor:
        """Return the pictures' centres (N, channels, short_side, short_side) float32, 0 to 255."""
        planes = pixels if self.channels_first else pixels.permute(0, 3, 1, 2)
        height, width = planes.shape[2], planes.shape[3]
        # Squares of the right size are the usual case, and the products would cost as much as a
        # small network. A trace (TorchScript) keeps one way alone, its example's: `_resize`.
        if torch.compiler.is_exporting():
            is_square = (height - self.short_side) ** 2 + (width - self.short_side) ** 2 == 0
            squares: Tensor = torch.cond(is_square, _keep, self._resize, (planes,))
            torch._check(squares.shape[2] == self.short_side)
            torch._check(squares.shape[3] == self.short_side)
            return squares
        if height == width == self.short_side:
            return planes.float()
        return self._resize(planes)

    def _resize(self, planes: Tensor) -> Tensor:
        """Resize the short side and take the centre, rounding after each direction as Pillow."""
        # Sizes as tensors: what is worked out of `shape` a branch of an export would keep as it
        # was for the example's size.
        rows, columns = list_centres(planes.shape[2]), list_centres(planes.shape[3])
        height, width = torch.ones_like(rows).sum(), torch.ones_like(columns).sum()
        short = torch.minimum(height, width)
        across = self._filter_centre(columns, width, short)
        down = self._filter_centre(rows, height, short)
        narrow = torch.floor(planes.float() @ across.T + 0.5)
        return torch.floor(down @ narrow + 0.5)

    def _filter_centre(self, centres: Tensor, extent: Tensor, short: Tensor) -> Tensor:
        resized = torch.floor(self.short_side * extent / short)
        # To even numbers, as Python rounds in `decode_square`.
        start = torch.round((resized - self.short_side) / 2)
        return filter_rows(centres, extent, resized, start, self.short_side)

    def normalise(self, squares: Tensor) -> Tensor:
        """Return what the network takes of squares (N, channels, short_side, short_side)."""
        margin = (self.short_side - self.side) // 2
        window = slice(margin, margin + self.side)
        planes = squares[:, :, window, window].expand(-1, self.channels, -1, -1)
        images = planes * self.scale + self.shift
        if self.in_channels < self.channels:
            images = (images * self.luminance).sum(1, keepdim=True)
        if self.resize:
            images = self.rows @ images @ self.rows.T
        return images


def _keep(planes: Tensor) -> Tensor:
    return planes.float().contiguous()


def list_centres(extent: int) -> Tensor:
    """Return the centres (extent,) of an axis's pixels."""
    return torch.arange(extent, dtype=torch.float64) + 0.5


def filter_rows(
    centres: Tensor, extent: Tensor, resized: Tensor, start: Tensor, count: int
) -> Tensor:
    """Return the weights (count, extent) by which an axis's pixels are resized to `resized`.

    Of the resized ones those from `start` on. A triangle as wide as a pixel of the smaller of both,
    as in Pillow's and torch's antialiased bilinear resizing; what lies outside doesn't count.
    """
    scale = extent / resized
    places = (list_centres(count) + start) * scale
    distances = (centres - places[:, None]).abs() / scale.clamp(min=1)
    rows = (1 - distances).clamp(min=0)
    return (rows / rows.sum(dim=1, keepdim=True)).float()
