"""Networks made for small machines: SqueezeNet, MobileNet, ShuffleNet."""

from torch import nn

from zoo import stem
from zoo.external import torchvision_model


def squeezenet1_1(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """SqueezeNet 1.1 as torchvision has it."""
    return torchvision_model("squeezenet1_1", num_classes=num_classes, in_channels=in_channels)


def squeezenet1_1_cifar(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """SqueezeNet 1.1 whose first convolution has stride 1 and a border of 1."""
    model = squeezenet1_1(num_classes=num_classes, in_channels=in_channels)
    stem.set_stride(model, "features.0", 1)
    first = model.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d)
    first.padding = (1, 1)
    return model


def mobilenet_v2(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """MobileNetV2 as torchvision has it."""
    return torchvision_model("mobilenet_v2", num_classes=num_classes, in_channels=in_channels)


def mobilenet_v2_cifar(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """MobileNetV2 with stride 1 in the first convolution and in the blocks of 24 maps."""
    model = mobilenet_v2(num_classes=num_classes, in_channels=in_channels)
    stem.set_stride(model, "features.0.0", 1)
    stem.set_stride(model, "features.2.conv.1.0", 1)
    return model


def shufflenet_v2_x1_0(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ShuffleNetV2 1x as torchvision has it."""
    return torchvision_model("shufflenet_v2_x1_0", num_classes=num_classes, in_channels=in_channels)


def shufflenet_v2_x1_0_cifar(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ShuffleNetV2 1x with stride 1 in the first convolution and no max pooling."""
    model = shufflenet_v2_x1_0(num_classes=num_classes, in_channels=in_channels)
    stem.set_stride(model, "conv1.0", 1)
    stem.leave_out(model, "maxpool")
    return model
