"""Residual networks (He, Zhang, Ren, Sun 2015)."""

from torch import nn

from zoo import stem
from zoo.external import torchvision_model


def resnet18(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ResNet-18 as torchvision has it."""
    return torchvision_model("resnet18", num_classes=num_classes, in_channels=in_channels)


def resnet18_cifar(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ResNet-18 with a 3x3 stem of stride 1."""
    return _small_stem(resnet18(num_classes=num_classes, in_channels=in_channels))


def _small_stem(model: nn.Module) -> nn.Module:
    """Read the image by 3x3 with stride 1 instead of 7x7 with stride 2, and leave out the max pooling."""
    old = model.get_submodule("conv1")
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does for all of them
    model.set_submodule("conv1", new)
    stem.leave_out(model, "maxpool")
    return model
