"""Networks of parallel branches: GoogLeNet, Inception v3, Xception, NASNet-A."""

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.external import nasnet_a, of_timm, of_torchvision
from zoo.stem import fitted, small_kernel

googlenet, inception_v3 = of_torchvision("googlenet"), of_torchvision("inception_v3")
googlenet_cifar = fitted(googlenet, without=("maxpool1",), then=small_kernel("conv1.conv"))
inception_v3_cifar = fitted(inception_v3, stride_1=("Conv2d_1a_3x3.conv",), without=("maxpool1",))

xception = of_timm("legacy_xception")
xception_cifar = fitted(xception, stride_1=("conv1", "block1.skip", "block1.rep.5"))


class NASNetA(nn.Module):
    """NASNet-A (4 @ 1056) of timm's cells (Zoph et al. 2017): each cell reads the two before it."""

    CELLS = (
        "cell_0",
        "cell_1",
        "cell_2",
        "cell_3",
        "reduction_cell_0",
        "cell_6",
        "cell_7",
        "cell_8",
        "cell_9",
        "reduction_cell_1",
        "cell_12",
        "cell_13",
        "cell_14",
        "cell_15",
    )

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        large = nasnet_a(
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
            before, x = x, self.get_submodule(name)(x, before)
        scores: Tensor = self.get_submodule("last_linear")(F.relu(x).mean((2, 3)))
        return scores


def nasnet_a_mobile(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """NASNet-A for mobile devices."""
    return NASNetA(num_classes, in_channels)


def _add_border(model: nn.Module) -> None:
    first = model.get_submodule("conv0.conv")
    assert isinstance(first, nn.Conv2d)
    first.padding = (1, 1)


nasnet_a_mobile_cifar = fitted(nasnet_a_mobile, stride_1=("conv0.conv",), then=_add_border)
