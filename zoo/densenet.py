"""Densely connected networks (Huang et al. 2016)."""

from torch import nn

from zoo.external import densenet, of_torchvision
from zoo.stem import fitted, small_kernel

densenet121 = of_torchvision("densenet121")
densenet121_cifar = fitted(
    densenet121, without=("features.pool0",), then=small_kernel("features.conv0")
)


def _densenet_bc_100_12(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    return densenet(
        num_classes=num_classes,
        in_channels=in_channels,
        growth_rate=12,
        block_config=(16, 16, 16),
        num_init_features=24,
    )


# The published stem for 32 px has neither normalisation nor pooling.
densenet_bc_100_12 = fitted(
    _densenet_bc_100_12,
    without=("features.norm0", "features.relu0", "features.pool0"),
    then=small_kernel("features.conv0"),
)
