"""Residual networks: ResNet (He et al.

2015), pre-activation (2016), wide, ResNeXt, squeeze-and-excitation.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import of_timm, of_torchvision
from zoo.stem import fitted, small_kernel

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
small = partial(fitted, without=("maxpool",), then=small_kernel("conv1"))

resnet18, resnet34, resnet50 = (
    of_torchvision("resnet18"),
    of_torchvision("resnet34"),
    of_torchvision("resnet50"),
)
resnet18_cifar, resnet34_cifar, resnet50_cifar = small(resnet18), small(resnet34), small(resnet50)
resnext50_32x4d = of_torchvision("resnext50_32x4d")
resnext50_32x4d_cifar = small(resnext50_32x4d)
se_resnet18, se_resnet50 = of_timm("seresnet18"), of_timm("seresnet50")
se_resnet18_cifar, se_resnet50_cifar = small(se_resnet18), small(se_resnet50)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights (option A).

    Every second pixel, missing maps zero.
    """

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, maps - in_maps
        self.conv1, self.bn1 = conv3x3(in_maps, maps, stride=stride), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = conv3x3(maps, maps), nn.BatchNorm2d(maps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        shortcut = x
        if self.stride > 1 or self.missing:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class PreActBlock(nn.Module):
    """Normalise and activate before each of two 3x3 convolutions.

    A 1x1 shortcut where the shape changes.
    """

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_maps), conv3x3(in_maps, maps, stride=stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(maps), conv3x3(maps, maps)
        changes = stride > 1 or in_maps != maps
        self.shortcut = nn.Conv2d(in_maps, maps, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        x = self.conv1(activated)
        total: Tensor = self.conv2(F.relu(self.bn2(x))) + shortcut
        return total


class ResNet(nn.Module):
    """A residual network for 32 px.

    A 3x3 convolution, stages of equal blocks, the mean of the last maps.
    """

    def __init__(
        self,
        block: type[BasicBlock | PreActBlock],
        num_blocks: int,
        stem: int,
        widths: Sequence[int],
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, stem)
        self.first = (
            nn.Identity()
            if block is PreActBlock
            else nn.Sequential(nn.BatchNorm2d(stem), nn.ReLU())
        )
        self.last = (
            nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
            if block is PreActBlock
            else nn.Identity()
        )
        inputs = [stem, *widths[:-1]]
        self.stages = nn.Sequential(
            *(
                block(before if i == 0 else width, width, 2 if i == 0 and stage > 0 else 1)
                for stage, (before, width) in enumerate(zip(inputs, widths, strict=True))
                for i in range(num_blocks)
            )
        )
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.last(self.stages(self.first(self.conv(images))))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def residual(
    block: type[BasicBlock | PreActBlock], num_blocks: int, stem: int, widths: Sequence[int]
) -> Callable[..., nn.Module]:
    """Make the function that builds one residual network for 32 px."""

    def build(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
        return ResNet(block, num_blocks, stem, widths, num_classes, in_channels)

    return build


resnet20, resnet32, resnet44, resnet56, resnet110 = (
    residual(BasicBlock, num_blocks, 16, (16, 32, 64)) for num_blocks in (3, 5, 7, 9, 18)
)
preact_resnet18 = residual(PreActBlock, 2, 64, (64, 128, 256, 512))
wide_resnet16_4 = residual(PreActBlock, 2, 16, (64, 128, 256))
wide_resnet28_10 = residual(PreActBlock, 4, 16, (160, 320, 640))
