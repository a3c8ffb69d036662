"""Networks for short budgets on small images: one after airbench94, and a small one for CPUs.

Jordan, arXiv 2404.00498: a first layer that whitens 2x2 patches, three blocks of two wide
convolutions, GELU, one maximum over the last maps, scores scaled down. Its recipe: label smoothing
0.2, few epochs, and Muon with Nesterov's step (Jordan et al. 2024, "Muon: an optimizer for hidden
layers"), which makes the rows of a convolution's step orthogonal.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHITENING_EPSILON = 5e-4  # added to a patch's variances, so that flat directions aren't blown up
# Scores are divided by it: large ones would saturate the softmax at the start, and Muon's steps
# of the last layer, whose size doesn't depend on the gradient's, would throw them about.
SCORE_SCALE = 9


class Block(nn.Module):
    """Two 3x3 convolutions with pooling after the first."""

    def __init__(self, before: int, maps: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, maps, 3, padding=1, bias=False)
        self.bn1 = _norm(maps)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = _norm(maps)
        for convolution in (self.conv1, self.conv2):
            # The first maps pass on at the start, as the identity would.
            nn.init.dirac_(convolution.weight[: convolution.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, before, H, W) to (N, maps, H / 2, W / 2)."""
        x = self.pool(self.conv1(x))
        x = F.gelu(self.bn1(x))
        return F.gelu(self.bn2(self.conv2(x)))


class SpeedrunNet(nn.Module):
    """Whitening, three blocks, one linear layer."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        maps = 2 * in_channels * 2 * 2  # each whitening filter of a 2x2 patch, and its negative
        self.whiten = nn.Conv2d(in_channels, maps, 2)
        self.blocks = nn.Sequential(
            Block(maps, 64),
            Block(64, 256),
            Block(256, 256),
        )
        self.pool = nn.MaxPool2d(3)  # 32 px: 31 after whitening, then 15, 7 and 3
        self.fc = nn.Linear(256, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = F.gelu(self.whiten(images))
        x = self.pool(self.blocks(x)).flatten(1)
        scores: Tensor = self.fc(x) / SCORE_SCALE
        return scores

    @torch.no_grad()
    def see_images(self, images: Tensor) -> None:
        """Make the first layer whiten patches like those of (N, C, H, W) images, and keep it so.

        Its bias learns.
        """
        filters = whitening_filters(images, self.whiten)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        self.whiten.weight.requires_grad_(False)


def whitening_filters(images: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return filters (C * k * k, C, k, k) whose outputs on the patches of images are uncorrelated.

    Of variance 1, but for flat directions. Patches are those that the convolution reads, without
    its border.
    """
    size, stride = convolution.kernel_size[0], convolution.stride[0]
    # (N, C, rows, columns, k, k), then one row of C * k * k values a patch.
    windows = images.unfold(2, size, stride).unfold(3, size, stride)
    patches = windows.movedim(1, 3).flatten(3).flatten(0, 2)
    # In double precision: the smallest variances are far below the largest.
    patches = patches.reshape(len(patches), -1).double()
    covariance = patches.T @ patches / len(patches)
    variances, directions = torch.linalg.eigh(covariance)
    scaled = directions / (variances + WHITENING_EPSILON).sqrt()
    filters: Tensor = scaled.T.reshape(-1, *convolution.weight.shape[1:])
    return filters


def _norm(maps: int) -> nn.Module:
    # Statistics follow fast (torch's momentum is 0.1), since a run has few steps.
    return nn.BatchNorm2d(maps, momentum=0.4)


def speedrun(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build the speedrun network, whose first filters are random until `see_images` is called."""
    return SpeedrunNet(num_classes, in_channels)


class Residual(nn.Module):
    """Two 3x3 convolutions, added to what they read."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.conv1 = convolve(maps, maps)
        self.conv2 = convolve(maps, maps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, maps, H, W) to the same shape."""
        added: Tensor = x + self.conv2(self.conv1(x))
        return added


class CpuNet(nn.Module):
    """Whitened patches of 4x4 px at every other pixel, then 3x3 convolutions at 16, 8 and 4 px."""

    def __init__(self, num_classes: int, in_channels: int, maps: int) -> None:
        super().__init__()
        values = in_channels * 4 * 4
        self.whiten = nn.Conv2d(in_channels, values, 4, stride=2, padding=1, bias=False)
        self.layers = nn.Sequential(
            convolve(values, maps, size=1),
            convolve(maps, maps),
            nn.MaxPool2d(2),
            convolve(maps, 2 * maps),
            Residual(2 * maps),
            nn.MaxPool2d(2),
            convolve(2 * maps, 4 * maps),
            Residual(4 * maps),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(4 * maps, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        scores: Tensor = self.fc(self.layers(self.whiten(images))) / SCORE_SCALE
        return scores

    @torch.no_grad()
    def see_images(self, images: Tensor) -> None:
        """Make the first layer whiten patches like those of (N, C, H, W) images, and keep it so.

        The layer after it then learns a 4x4 convolution of values that are uncorrelated.
        """
        self.whiten.weight.copy_(whitening_filters(images, self.whiten))
        self.whiten.weight.requires_grad_(False)


def convolve(before: int, maps: int, *, size: int = 3) -> nn.Module:
    """Build a convolution that keeps the size of maps, with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, maps, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(maps),
        nn.ReLU(inplace=True),
    )


def speedrun_cpu(*, num_classes: int = 100, in_channels: int = 3, maps: int = 48) -> nn.Module:
    """Build the network for CPUs; its first filters are random until `see_images` is called."""
    return CpuNet(num_classes, in_channels, maps)
