"""Networks made for small machines.

SqueezeNet, MobileNet, ShuffleNet, MNASNet, EfficientNet, GhostNet.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import from_timm, from_torchvision
from zoo.initial import centre_filters
from zoo.stem import adapt_stem, set_padding


def _leave_chance(model: nn.Module) -> None:
    """Start a SqueezeNet so that it learns soon: filters of mean 0, scores above 0.

    SqueezeNet rectifies its scores; with biases of 0 half of them give no gradient, and at high
    learning rates all die.
    """
    centre_filters(model)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    nn.init.ones_(last.bias)


squeezenet1_0 = adapt_stem(from_torchvision("squeezenet1_0"), then=_leave_chance)
squeezenet1_1 = adapt_stem(from_torchvision("squeezenet1_1"), then=_leave_chance)
# torchvision doesn't pad the first convolution; padded, it reads all of a small image.
squeezenet1_0_cifar = adapt_stem(
    squeezenet1_0,
    stride_1=("features.0",),
    then=lambda model: set_padding(model, "features.0", 3),
)
squeezenet1_1_cifar = adapt_stem(
    squeezenet1_1,
    stride_1=("features.0",),
    then=lambda model: set_padding(model, "features.0", 1),
)

# The forms for 32 px drop the strides of the first two convolutions that have one, so that the last
# maps are 4x4, as the published networks' are 7x7.
mobilenet_v1 = from_timm("mobilenetv1_100")
mobilenet_v1_cifar = adapt_stem(mobilenet_v1, stride_1=("conv_stem", "blocks.1.0.conv_dw"))
mobilenet_v2 = from_torchvision("mobilenet_v2")
mobilenet_v2_cifar = adapt_stem(mobilenet_v2, stride_1=("features.0.0", "features.2.conv.1.0"))
mobilenet_v3_small = from_torchvision("mobilenet_v3_small")
mobilenet_v3_small_cifar = adapt_stem(
    mobilenet_v3_small, stride_1=("features.0.0", "features.1.block.0.0")
)
mobilenet_v4_conv_small = from_timm("mobilenetv4_conv_small")
mobilenet_v4_conv_small_cifar = adapt_stem(
    mobilenet_v4_conv_small, stride_1=("conv_stem", "blocks.0.0.conv")
)

shufflenet_v2_x1_0 = from_torchvision("shufflenet_v2_x1_0")
shufflenet_v2_x1_0_cifar = adapt_stem(
    shufflenet_v2_x1_0, stride_1=("conv1.0",), without=("maxpool",)
)

mnasnet1_0 = from_torchvision("mnasnet1_0")
mnasnet1_0_cifar = adapt_stem(mnasnet1_0, stride_1=("layers.0", "layers.8.0.layers.3"))
efficientnet_b0 = from_torchvision("efficientnet_b0")
efficientnet_b0_cifar = adapt_stem(
    efficientnet_b0, stride_1=("features.0.0", "features.2.0.block.1.0")
)
ghostnet = from_timm("ghostnet_100")
# A block's shortcut is strided with it, else their maps couldn't be added.
ghostnet_cifar = adapt_stem(
    ghostnet, stride_1=("conv_stem", "blocks.1.0.conv_dw", "blocks.1.0.shortcut.0")
)


class ShuffleUnit(nn.Module):
    """Grouped 1x1 convolutions around a depthwise 3x3, maps shuffled between groups (figure 2)."""

    def __init__(self, in_maps: int, maps: int, stride: int, groups: int, *, first: bool) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=False)
        middle = maps // 4
        # At stride 2 the shortcut's maps are put beside these, else it is added to them.
        added = maps - in_maps if stride == 2 else maps
        # The first unit of all reads 24 maps, too few for groups.
        reduce_groups = 1 if first else groups
        self.groups = groups
        self.stride = stride
        self.reduce = nn.Sequential(
            conv(in_maps, middle, 1, groups=reduce_groups), nn.BatchNorm2d(middle), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            conv(middle, middle, 3, stride, 1, groups=middle), nn.BatchNorm2d(middle)
        )
        self.expand = nn.Sequential(conv(middle, added, 1, groups=groups), nn.BatchNorm2d(added))
        self.shortcut = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        shortcut = self.shortcut(x)
        x = F.channel_shuffle(self.reduce(x), self.groups)
        x = self.expand(self.depthwise(x))
        if self.stride == 2:
            return F.relu(torch.cat([shortcut, x], 1))
        return F.relu(x + shortcut)


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
        units: list[nn.Module] = []
        before = 24
        # Stages 2 to 4 of table 1; the first unit of each halves the map's side.
        for maps, num_units in zip(widths, (4, 8, 4), strict=True):
            for i in range(num_units):
                stride = 2 if i == 0 else 1
                units.append(ShuffleUnit(before, maps, stride, groups, first=not units))
                before = maps
        self.units = nn.Sequential(*units)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        x = F.relu(self.norm1(self.conv1(images)))
        x = self.units(self.maxpool(x))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def shufflenet_v1(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build ShuffleNet 1x with 3 groups."""
    return ShuffleNet(num_classes, in_channels)


shufflenet_v1_cifar = adapt_stem(shufflenet_v1, stride_1=("conv1",), without=("maxpool",))
