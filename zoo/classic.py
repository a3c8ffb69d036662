"""Plain networks for small images, from before residual connections."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from zoo.layer import LocalResponseNorm

IMAGE_SIZE = 32


def mlp(
    *, num_classes: int = 100, in_channels: int = 3, hidden: Sequence[int] = (512, 256)
) -> nn.Module:
    """A feed-forward network: ReLU layers of `hidden` units on the pixels of a 32 px image."""
    sizes = (in_channels * IMAGE_SIZE**2, *hidden)
    layers = [
        layer
        for before, after in pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], num_classes))


def convnet(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """The small ConvNet of the CIFAR-10 tutorials: 32 and 64 maps, 512 units."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 512),
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
    """The four-layer CNN of cuda-convnet ("18 %", Krizhevsky 2012): LRN over 3 maps after the first two poolings.

    Its initial weights are torch's: the published ones, N(0, 0.0001) in the first layer, sit at
    chance for long.
    """
    act = nn.ReLU if activation == "relu" else nn.Tanh

    def norm() -> nn.Module:
        return LocalResponseNorm(3, 5e-5, 0.75, 1.0) if lrn else nn.Identity()

    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        act(),
        norm(),
        nn.Conv2d(32, 32, 5, padding=2),
        act(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        norm(),
        nn.Conv2d(32, 64, 5, padding=2),
        act(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, num_classes),
    )


def nin(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Network in Network (Lin, Chen, Yan 2013).

    1x1 convolutions after each larger one, the mean of a map a class.
    """
    return nn.Sequential(
        *_mlpconv(in_channels, 192, 160, 96, kernel=5),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *_mlpconv(96, 192, 192, 192, kernel=5),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *_mlpconv(192, 192, 192, num_classes, kernel=3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _mlpconv(inputs: int, *maps: int, kernel: int) -> list[nn.Module]:
    """A convolution and two of 1x1, each with ReLU."""
    kernels = (kernel, 1, 1)
    return [
        layer
        for (before, after), size in zip(pairwise((inputs, *maps)), kernels, strict=True)
        for layer in (_he(nn.Conv2d(before, after, size, padding=size // 2)), nn.ReLU())
    ]


def all_cnn(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """All-CNN-C (Springenberg et al.

    2014, table 1): strides instead of pooling, the mean of a map a class.
    """
    plan = (
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
        layers += [_he(nn.Conv2d(before, maps, kernel, stride, kernel // 2)), nn.ReLU()]
        layers += [nn.Dropout(0.5)] if stride == 2 else []
        before = maps
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _he(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw weights as He (2015): nothing normalises these deep stacks."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution
