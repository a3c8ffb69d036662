"""Networks of parallel branches: GoogLeNet, Inception v3, Xception, NASNet-A."""

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import build_nasnet_a, from_timm, from_torchvision
from zoo.stem import adapt_stem, set_padding, use_small_kernel

# The forms for 32 px have a total stride of 8 (NASNet: 16) instead of 32, which would leave a
# single pixel for the last branches.
googlenet = from_torchvision("googlenet")
googlenet_cifar = adapt_stem(googlenet, without=("maxpool1",), then=use_small_kernel("conv1.conv"))
inception_v3 = from_torchvision("inception_v3")
inception_v3_cifar = adapt_stem(
    inception_v3, stride_1=("Conv2d_1a_3x3.conv",), without=("maxpool1",)
)
# The paper's network; timm's xception41 and so on are DeepLab's.
xception = from_timm("legacy_xception")
xception_cifar = adapt_stem(xception, stride_1=("conv1", "block1.skip", "block1.rep.5"))


class NASNetA(nn.Module):
    """NASNet-A (4 @ 1056) of timm's cells (Zoph et al. 2017): each cell reads the two before it.

    timm has NASNet-A Large alone, with 6 cells a stage; the first 4 of each stage are taken, under
    timm's names.
    """

    STAGE_1 = ("cell_0", "cell_1", "cell_2", "cell_3")
    STAGE_2 = ("reduction_cell_0", "cell_6", "cell_7", "cell_8", "cell_9")
    STAGE_3 = ("reduction_cell_1", "cell_12", "cell_13", "cell_14", "cell_15")
    CELLS = (*STAGE_1, *STAGE_2, *STAGE_3)

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        # Maps in the stem and at the end; the large network has 96 and 4032.
        large = build_nasnet_a(
            num_classes=num_classes, in_channels=in_channels, stem_size=32, num_features=1056
        )
        for name in ("conv0", "cell_stem_0", "cell_stem_1", *self.CELLS, "last_linear"):
            self.add_module(name, large.get_submodule(name))

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        stem = self.get_submodule("conv0")(images)
        before = self.get_submodule("cell_stem_0")(stem)
        x = self.get_submodule("cell_stem_1")(stem, before)
        for name in self.CELLS:
            after = self.get_submodule(name)(x, before)  # the last cell and the one before it
            before, x = x, after
        scores: Tensor = self.get_submodule("last_linear")(F.relu(x).mean((2, 3)))
        return scores


def nasnet_a_mobile(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build NASNet-A for mobile devices."""
    return NASNetA(num_classes, in_channels)


nasnet_a_mobile_cifar = adapt_stem(
    nasnet_a_mobile,
    stride_1=("conv0.conv",),
    then=lambda model: set_padding(model, "conv0.conv", 1),
)
