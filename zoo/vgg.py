"""VGG (Simonyan, Zisserman 2014), with and without batch normalisation."""

from functools import partial

from torch import nn

from zoo.external import from_torchvision
from zoo.stem import adapt_stem


def use_small_head(model: nn.Module) -> None:
    """Classify by two hidden layers of 512 units, on the 512 maps of 1x1 that 32 px leave."""
    last = model.get_submodule("classifier.6")
    assert isinstance(last, nn.Linear)
    head = nn.Sequential(
        nn.Linear(512, 512),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(512, 512),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(512, last.out_features),
    )
    # 512 x 7 x 7 inputs and 4096 units would be most of the network, for one pixel.
    model.set_submodule("classifier", head)


# torchvision averages the last maps to 7x7, which would only repeat the one pixel that is left.
adapt_vgg = partial(adapt_stem, without=("avgpool",), then=use_small_head)

vgg11 = from_torchvision("vgg11")
vgg13 = from_torchvision("vgg13")
vgg16 = from_torchvision("vgg16")
vgg19 = from_torchvision("vgg19")
vgg11_bn = from_torchvision("vgg11_bn")
vgg13_bn = from_torchvision("vgg13_bn")
vgg16_bn = from_torchvision("vgg16_bn")
vgg19_bn = from_torchvision("vgg19_bn")

vgg11_cifar = adapt_vgg(vgg11)
vgg13_cifar = adapt_vgg(vgg13)
vgg16_cifar = adapt_vgg(vgg16)
vgg19_cifar = adapt_vgg(vgg19)
vgg11_bn_cifar = adapt_vgg(vgg11_bn)
vgg13_bn_cifar = adapt_vgg(vgg13_bn)
vgg16_bn_cifar = adapt_vgg(vgg16_bn)
vgg19_bn_cifar = adapt_vgg(vgg19_bn)
