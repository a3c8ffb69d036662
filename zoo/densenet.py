"""Densely connected networks (Huang et al. 2016)."""

from torch import nn

from zoo.external import build_densenet, from_torchvision
from zoo.stem import adapt_stem, use_small_kernel

densenet121 = from_torchvision("densenet121")
densenet121_cifar = adapt_stem(
    densenet121, without=("features.pool0",), then=use_small_kernel("features.conv0")
)


def build_bc_100_12(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build DenseNet-BC of depth 100 and growth rate 12, with the stem for ImageNet.

    100 layers: conv0, 3 blocks of 16 pairs, 2 transitions, the linear layer (section 4.2).
    """
    return build_densenet(
        num_classes=num_classes,
        in_channels=in_channels,
        growth_rate=12,
        block_config=(16, 16, 16),
        num_init_features=24,
    )


# The published stem for 32 px has neither normalisation nor pooling.
densenet_bc_100_12 = adapt_stem(
    build_bc_100_12,
    without=("features.norm0", "features.relu0", "features.pool0"),
    then=use_small_kernel("features.conv0"),
)
