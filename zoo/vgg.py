"""VGG (Simonyan, Zisserman 2014), with and without batch normalisation."""

from functools import partial

from torch import nn

from zoo.external import of_torchvision
from zoo.stem import fitted


def _small_head(model: nn.Module) -> None:
    """Read the 512 maps of 1x1 that 32 px leave, by hidden layers of 512 units."""
    last = model.get_submodule("classifier.6")
    assert isinstance(last, nn.Linear)
    hidden = [
        layer
        for _ in range(2)
        for layer in (nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout())
    ]
    model.set_submodule("classifier", nn.Sequential(*hidden, nn.Linear(512, last.out_features)))


small = partial(fitted, without=("avgpool",), then=_small_head)

vgg11, vgg13, vgg16, vgg19 = (of_torchvision(f"vgg{depth}") for depth in (11, 13, 16, 19))
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (
    of_torchvision(f"vgg{depth}_bn") for depth in (11, 13, 16, 19)
)
vgg11_cifar, vgg13_cifar, vgg16_cifar, vgg19_cifar = (
    small(vgg11),
    small(vgg13),
    small(vgg16),
    small(vgg19),
)
vgg11_bn_cifar, vgg13_bn_cifar = small(vgg11_bn), small(vgg13_bn)
vgg16_bn_cifar, vgg19_bn_cifar = small(vgg16_bn), small(vgg19_bn)
