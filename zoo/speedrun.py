"""A network for the fastest known recipes on small images, after airbench94 (Jordan, arXiv 2404.00498).

A first layer that whitens 2x2 patches, three blocks of two wide convolutions, GELU, one maximum
over the last maps, scores scaled down. Its recipe: label smoothing 0.2, few epochs, and Muon with
Nesterov's step (Jordan et al. 2024, "Muon: an optimizer for hidden layers"), which makes the rows
of a convolution's step orthogonal.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHITENING_EPSILON = 5e-4


class Block(nn.Module):
    """Two 3x3 convolutions with pooling after the first."""

    def __init__(self, before: int, maps: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, maps, 3, padding=1, bias=False), _norm(maps)
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False), _norm(maps)
        for convolution in (
            self.conv1,
            self.conv2,
        ):  # the first maps pass on at the start, as the identity would
            nn.init.dirac_(convolution.weight[: convolution.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, before, H, W) to (N, maps, H / 2, W / 2)."""
        x = F.gelu(self.bn1(self.pool(self.conv1(x))))
        return F.gelu(self.bn2(self.conv2(x)))


class SpeedrunNet(nn.Module):
    """Whitening, three blocks, one linear layer."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        maps = 2 * in_channels * 2 * 2
        self.whiten = nn.Conv2d(in_channels, maps, 2)
        self.blocks = nn.Sequential(Block(maps, 64), Block(64, 256), Block(256, 256))
        self.pool = nn.MaxPool2d(3)
        self.fc = nn.Linear(256, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.pool(self.blocks(F.gelu(self.whiten(images)))).flatten(1)
        scores: Tensor = self.fc(x) / 9
        return scores

    @torch.no_grad()
    def see_images(self, images: Tensor) -> None:
        """Make the first layer whiten patches like those of (N, C, H, W) images, and keep it so.

        Its bias learns.
        """
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).movedim(1, 3).flatten(3).flatten(0, 2)
        patches = patches.reshape(len(patches), -1).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + WHITENING_EPSILON).sqrt()).T.reshape(
            -1, *self.whiten.weight.shape[1:]
        )
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        self.whiten.weight.requires_grad_(False)


def _norm(maps: int) -> nn.Module:
    return nn.BatchNorm2d(maps, momentum=0.4)


def speedrun(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """The speedrun network, with random first filters until `see_images` is given images."""
    return SpeedrunNet(num_classes, in_channels)
