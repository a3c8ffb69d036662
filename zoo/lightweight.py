"""Networks made for small machines.

SqueezeNet, MobileNet, ShuffleNet, MNASNet, EfficientNet, GhostNet.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import of_timm, of_torchvision
from zoo.initial import centre_filters
from zoo.stem import fitted


def _add_border(model: nn.Module) -> None:
    """Give the first convolution of a SqueezeNet a border, so that all of a small image is read."""
    first = model.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d)
    first.padding = (first.kernel_size[0] // 2, first.kernel_size[1] // 2)


def _leave_chance(model: nn.Module) -> None:
    """Start a SqueezeNet so that it learns soon: filters of mean 0, and scores on the open side of their ReLU.

    SqueezeNet rectifies its scores; with biases of 0 half of them give no gradient, and at high
    rates all die.
    """
    centre_filters(model)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    nn.init.ones_(last.bias)


squeezenet1_0 = fitted(of_torchvision("squeezenet1_0"), then=_leave_chance)
squeezenet1_1 = fitted(of_torchvision("squeezenet1_1"), then=_leave_chance)
squeezenet1_0_cifar = fitted(squeezenet1_0, stride_1=("features.0",), then=_add_border)
squeezenet1_1_cifar = fitted(squeezenet1_1, stride_1=("features.0",), then=_add_border)

mobilenet_v1, mobilenet_v2 = of_timm("mobilenetv1_100"), of_torchvision("mobilenet_v2")
mobilenet_v1_cifar = fitted(mobilenet_v1, stride_1=("conv_stem", "blocks.1.0.conv_dw"))
mobilenet_v2_cifar = fitted(mobilenet_v2, stride_1=("features.0.0", "features.2.conv.1.0"))
mobilenet_v3_small = of_torchvision("mobilenet_v3_small")
mobilenet_v3_small_cifar = fitted(
    mobilenet_v3_small, stride_1=("features.0.0", "features.1.block.0.0")
)
mobilenet_v4_conv_small = of_timm("mobilenetv4_conv_small")
mobilenet_v4_conv_small_cifar = fitted(
    mobilenet_v4_conv_small, stride_1=("conv_stem", "blocks.0.0.conv")
)

shufflenet_v2_x1_0 = of_torchvision("shufflenet_v2_x1_0")
shufflenet_v2_x1_0_cifar = fitted(shufflenet_v2_x1_0, stride_1=("conv1.0",), without=("maxpool",))

mnasnet1_0 = of_torchvision("mnasnet1_0")
mnasnet1_0_cifar = fitted(mnasnet1_0, stride_1=("layers.0", "layers.8.0.layers.3"))
efficientnet_b0 = of_torchvision("efficientnet_b0")
efficientnet_b0_cifar = fitted(efficientnet_b0, stride_1=("features.0.0", "features.2.0.block.1.0"))
ghostnet = of_timm("ghostnet_100")
ghostnet_cifar = fitted(
    ghostnet, stride_1=("conv_stem", "blocks.1.0.conv_dw", "blocks.1.0.shortcut.0")
)


class ShuffleUnit(nn.Module):
    """Grouped 1x1 convolutions around a depthwise 3x3, the maps shuffled between the groups (figure 2)."""

    def __init__(self, in_maps: int, maps: int, stride: int, groups: int, *, first: bool) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=False)
        middle = maps // 4
        added = maps - in_maps if stride == 2 else maps  # the shortcut's maps are put beside these
        self.groups, self.stride = groups, stride
        self.reduce = nn.Sequential(
            conv(in_maps, middle, 1, groups=1 if first else groups),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
        )
        self.depthwise = nn.Sequential(
            conv(middle, middle, 3, stride, 1, groups=middle), nn.BatchNorm2d(middle)
        )
        self.expand = nn.Sequential(conv(middle, added, 1, groups=groups), nn.BatchNorm2d(added))
        self.shortcut = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        shortcut = self.shortcut(x)
        x = self.expand(self.depthwise(F.channel_shuffle(self.reduce(x), self.groups)))
        return F.relu(torch.cat([shortcut, x], 1) if self.stride == 2 else x + shortcut)


class ShuffleNet(nn.Module):
    """ShuffleNet (Zhang et al. 2017, table 1), with 3 groups and 240, 480 and 960 maps for 1x."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        groups: int = 3,
        widths: Sequence[int] = (240, 480, 960),
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 24, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(24)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        units = []
        before = 24
        for stage, (maps, num_units) in enumerate(zip(widths, (4, 8, 4), strict=True)):
            for i in range(num_units):
                units.append(
                    ShuffleUnit(
                        before, maps, 2 if i == 0 else 1, groups, first=stage == 0 and i == 0
                    )
                )
                before = maps
        self.units = nn.Sequential(*units)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        x = self.units(self.maxpool(F.relu(self.norm1(self.conv1(images)))))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def shufflenet_v1(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ShuffleNet 1x with 3 groups."""
    return ShuffleNet(num_classes, in_channels)


shufflenet_v1_cifar = fitted(shufflenet_v1, stride_1=("conv1",), without=("maxpool",))
