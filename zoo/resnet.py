"""Residual networks.

ResNet (He et al. 2015), with pre-activation (2016), wide, ResNeXt, squeeze-and-excitation.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import from_timm, from_torchvision
from zoo.stem import adapt_stem, use_small_kernel

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
adapt_resnet = partial(adapt_stem, without=("maxpool",), then=use_small_kernel("conv1"))

resnet18 = from_torchvision("resnet18")
resnet18_cifar = adapt_resnet(resnet18)
resnet34 = from_torchvision("resnet34")
resnet34_cifar = adapt_resnet(resnet34)
resnet50 = from_torchvision("resnet50")
resnet50_cifar = adapt_resnet(resnet50)
resnext50_32x4d = from_torchvision("resnext50_32x4d")
resnext50_32x4d_cifar = adapt_resnet(resnext50_32x4d)
se_resnet18 = from_timm("seresnet18")
se_resnet18_cifar = adapt_resnet(se_resnet18)
se_resnet50 = from_timm("seresnet50")
se_resnet50_cifar = adapt_resnet(se_resnet50)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights (option A of section 4.2).

    The shortcut takes every second pixel, and the maps that it lacks are zero.
    """

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.missing = maps - in_maps
        self.conv1 = conv3x3(in_maps, maps, stride=stride)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = conv3x3(maps, maps)
        self.bn2 = nn.BatchNorm2d(maps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        shortcut = x
        if self.stride > 1 or self.missing:
            pixels = x[:, :, :: self.stride, :: self.stride]
            # F.pad counts from the last axis: nothing for width and height, maps at the end.
            shortcut = F.pad(pixels, (0, 0, 0, 0, 0, self.missing))
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class PreActBlock(nn.Module):
    """Normalise and activate before each of two 3x3 convolutions.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_maps)
        self.conv1 = conv3x3(in_maps, maps, stride=stride)
        self.bn2 = nn.BatchNorm2d(maps)
        self.conv2 = conv3x3(maps, maps)
        changes = stride > 1 or in_maps != maps
        self.shortcut = nn.Conv2d(in_maps, maps, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to (N, maps, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        # Plain where the shape stays, so that gradients reach every block unchanged.
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
        # Pre-activation blocks activate their own input, so that the last one's sum is still to
        # be activated; the others leave the stem's to be.
        self.first: nn.Module = nn.Identity()
        self.last: nn.Module = nn.Identity()
        if block is PreActBlock:
            self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        else:
            self.first = nn.Sequential(nn.BatchNorm2d(stem), nn.ReLU())
        blocks: list[nn.Module] = []
        before = stem
        for stage, width in enumerate(widths):
            for i in range(num_blocks):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(block(before, width, stride))
                before = width
        self.stages = nn.Sequential(*blocks)
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.first(self.conv(images))
        x = self.last(self.stages(x))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def make_residual(
    block: type[BasicBlock | PreActBlock], num_blocks: int, stem: int, widths: Sequence[int]
) -> Callable[..., nn.Module]:
    """Return the function that builds one residual network for 32 px.

    It has `num_blocks` blocks in each stage, `stem` maps before the first and `widths` in them.
    """

    def build(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
        return ResNet(block, num_blocks, stem, widths, num_classes, in_channels)

    return build


# He et al. 2015, section 4.2: depth 6n + 2 for n blocks in each of three stages.
resnet20 = make_residual(BasicBlock, 3, 16, (16, 32, 64))
resnet32 = make_residual(BasicBlock, 5, 16, (16, 32, 64))
resnet44 = make_residual(BasicBlock, 7, 16, (16, 32, 64))
resnet56 = make_residual(BasicBlock, 9, 16, (16, 32, 64))
resnet110 = make_residual(BasicBlock, 18, 16, (16, 32, 64))
preact_resnet18 = make_residual(PreActBlock, 2, 64, (64, 128, 256, 512))
# Zagoruyko, Komodakis 2016: depth 6n + 4, widths 4 and 10 times those of ResNet.
wide_resnet16_4 = make_residual(PreActBlock, 2, 16, (64, 128, 256))
wide_resnet28_10 = make_residual(PreActBlock, 4, 16, (160, 320, 640))
