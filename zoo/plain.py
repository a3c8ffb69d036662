"""Plain networks for small images, from before residual connections."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from zoo.layer import LocalResponseNorm

IMAGE_SIZE = 32  # pixels


def mlp(
    *, num_classes: int = 100, in_channels: int = 3, hidden: Sequence[int] = (512, 256)
) -> nn.Module:
    """Build a feed-forward network: ReLU layers of `hidden` units on a 32 px image's pixels."""
    sizes = (in_channels * IMAGE_SIZE**2, *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers.append(nn.Linear(before, after))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(sizes[-1], num_classes))
    return nn.Sequential(*layers)


def convnet(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build the small ConvNet of the CIFAR-10 tutorials: 32 and 64 maps, 512 units."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 512),  # 32 px halved twice
        nn.ReLU(),
        nn.Linear(512, num_classes),
    )


def cuda_convnet(
    *,
    num_classes: int = 100,
    in_channels: int = 3,
    lrn: bool = True,
    activation: Literal["relu", "tanh"] = "relu",
) -> nn.Module:
    """Build the four-layer CNN of cuda-convnet ("18 %", Krizhevsky 2012).

    LRN over 3 maps follows the first two poolings. Its initial weights are torch's: the published
    ones, N(0, 0.0001) in the first layer, sit at chance for long.
    """
    act = nn.ReLU if activation == "relu" else nn.Tanh

    def norm() -> nn.Module:
        return LocalResponseNorm(size=3, alpha=5e-5, k=1.0) if lrn else nn.Identity()

    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        act(),  # after the pooling in the first layer alone, as its layer definition has it
        norm(),
        nn.Conv2d(32, 32, 5, padding=2),
        act(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        norm(),
        nn.Conv2d(32, 64, 5, padding=2),
        act(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, num_classes),  # 32 px: 16, 8, 4, since the windows' sides round up
    )


def nin(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build Network in Network (Lin, Chen, Yan 2013).

    1x1 convolutions follow each larger one, and a class's score is the mean of its map.
    """
    return nn.Sequential(
        *_mlpconv(in_channels, (192, 160, 96), kernel=5),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *_mlpconv(96, (192, 192, 192), kernel=5),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *_mlpconv(192, (192, 192, num_classes), kernel=3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _mlpconv(in_maps: int, maps: Sequence[int], *, kernel: int) -> list[nn.Module]:
    """Build a convolution of `kernel` and further ones of 1x1, each with ReLU."""
    layers: list[nn.Module] = []
    for after in maps:
        convolution = nn.Conv2d(in_maps, after, kernel, padding=kernel // 2)
        layers += [_draw_he(convolution), nn.ReLU()]
        in_maps, kernel = after, 1  # the further ones: a small network on each pixel's maps
    return layers


def all_cnn(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build All-CNN-C (Springenberg et al. 2014, table 1).

    Strides replace pooling, and a class's score is the mean of its map.
    """
    plan = (  # maps, kernel, stride
        (96, 3, 1),
        (96, 3, 1),
        (96, 3, 2),
        (192, 3, 1),
        (192, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 1, 1),
        (num_classes, 1, 1),
    )
    layers: list[nn.Module] = [nn.Dropout(0.2)]
    before = in_channels
    for maps, kernel, stride in plan:
        convolution = nn.Conv2d(before, maps, kernel, stride, padding=kernel // 2)
        layers += [_draw_he(convolution), nn.ReLU()]
        if stride == 2:
            layers.append(nn.Dropout(0.5))
        before = maps
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _draw_he(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw weights as in He et al. (2015): nothing normalises these deep stacks."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution
