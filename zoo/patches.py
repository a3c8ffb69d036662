"""Whitened patches of pixels (Coates, Lee, Ng 2011, section 3), of whole batches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.encoding import reserve

CONTRAST_EPSILON = 10.0  # added to a patch's variance, of pixels from 0 to 255
WHITENING_EPSILON = 0.1  # added to the variances along the principal axes of patches
BLOCK = 256  # images whose patches are in memory at once


class WhitenedPatches(nn.Module):
    """Every patch of `side` x `side` pixels, normalised and whitened: (N, D, rows, columns).

    A patch loses its mean and is divided by its deviation; ZCA whitening, learnt from images by
    `see_images`, then makes the D = C * side * side values of patches uncorrelated.
    """

    def __init__(self, in_channels: int, *, side: int = 6) -> None:
        super().__init__()
        self.side = side
        self.num_values = in_channels * side**2
        if side < 1 or self.num_values < 2:
            raise ValueError(f"patch={side}: a patch of {self.num_values} values has no contrast")
        self.mean = reserve(self.num_values)
        self.whitening = reserve(self.num_values, self.num_values)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) pixels from 0 to 255 to (N, D, H - side + 1, W - side + 1)."""
        mean, deviation = self._measure_contrast(images)
        # Whitening is linear, and so is taking the mean off: one convolution for both.
        kernels = self.whitening.view(self.num_values, -1, self.side, self.side)
        rows = self.whitening.sum(dim=1)[:, None, None]
        offset = (self.whitening @ self.mean)[:, None, None]
        return (F.conv2d(images, kernels) - mean * rows) / deviation - offset

    def _measure_contrast(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation of every patch, both (N, 1, rows, columns)."""
        mean = F.avg_pool2d(images.mean(dim=1, keepdim=True), self.side, stride=1)
        squares = images.square().mean(dim=1, keepdim=True)
        variance = F.avg_pool2d(squares, self.side, stride=1) - mean.square()
        unbiased = variance.clamp(min=0) * self.num_values / (self.num_values - 1)
        return mean, (unbiased + CONTRAST_EPSILON).sqrt()

    @torch.no_grad()
    def see_images(self, images: Tensor) -> None:
        """Learn mean and whitening from all patches of (N, C, H, W) images."""
        sums = images.new_zeros(self.num_values, dtype=torch.double)
        products = sums.new_zeros(self.num_values, self.num_values)
        num_patches = 0
        for part in torch.split(images, BLOCK):
            mean, deviation = self._measure_contrast(part)
            patches = F.unfold(part, self.side).movedim(1, 2).flatten(0, 1)
            patches = (patches - mean.reshape(-1, 1)) / deviation.reshape(-1, 1)
            sums += patches.sum(dim=0, dtype=torch.double)
            products += patches.T @ patches
            num_patches += len(patches)
        centre = sums / num_patches
        covariance = products / num_patches - torch.outer(centre, centre)
        variances, axes = torch.linalg.eigh(covariance)
        whitening = (axes / (variances.clamp(min=0) + WHITENING_EPSILON).sqrt()) @ axes.T
        self.mean.copy_(centre)
        self.whitening.copy_(whitening)
