"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) and the forms in which people teach and use it.

One network, `AlexNet`, and one table of what differs: `Design`. The paper's figure, two towers side by side:

    image  conv1  LRN pool  conv2  LRN pool  conv3  conv4  conv5  pool  fc6   fc7   fc8
      3     48              128              192    192    128          2048  2048  classes
             |               |             \\ / |      |      |        \\ / \\ / \\ / |
             48              128           / \\ 192    192    128      / \\ 2048  2048

The towers read each other at conv3 and at the fully connected layers, and nowhere else. On one device that is
`groups=2` in conv2, conv4 and conv5, and LRN over each half of the maps. `zoo/tower.py` puts them on two.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layer import LocalResponseNorm

ALPHA = {"code": 1e-4, "paper": 5e-4}  # torch divides alpha by the 5 neighbours, as the authors' code did


@dataclass(frozen=True, kw_only=True)
class Stem:
    """How an image becomes the maps that fc6 reads.

    224 px: the authors' code rounded 54.25 up to 55, which a border of 2 gives too. `side` is that of fc6's maps.
    """

    kernel: int = 11
    stride: int = 4
    padding: int = 2
    pool_padding: int = 0
    side: int = 6


SMALL = Stem(padding=5, pool_padding=1, side=1)  # 32 px: 8, 4, 2, 1; the total stride stays 32


@dataclass(frozen=True, kw_only=True)
class Design:
    """What one AlexNet has and another hasn't; the values here are the paper's."""

    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    towers: int = 2
    lrn: Literal["off", "code", "paper"] = "code"
    pooling: Literal["overlapping", "plain"] = "overlapping"
    activation: Literal["relu", "tanh"] = "relu"
    dropout: float = 0.5
    drop: Literal["outputs", "inputs"] = "outputs"  # of the hidden layers
    adaptive: bool = False  # average the last maps to `stem.side` first, whatever the image's size
    init: Literal["paper", "default", "kaiming", "he"] = "paper"
    stem: Stem = field(default_factory=Stem)


PAPER = Design()
SINGLE_TOWER = replace(PAPER, towers=1, lrn="off", adaptive=True, init="default")
NARROW = replace(SINGLE_TOWER, hidden=2048, init="kaiming")
HALF = replace(SINGLE_TOWER, widths=(48, 128, 192, 192, 128), hidden=2048)
OWT = replace(SINGLE_TOWER, widths=(64, 192, 384, 256, 256), drop="inputs")


class AlexNet(nn.Module):
    """An AlexNet of one design on one device."""

    def __init__(self, design: Design, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.design = design
        maps, towers, stem = design.widths, design.towers, design.stem
        self.conv1 = nn.Conv2d(in_channels, maps[0], stem.kernel, stem.stride, stem.padding)
        self.conv2 = nn.Conv2d(maps[0], maps[1], 5, padding=2, groups=towers)
        self.conv3 = nn.Conv2d(maps[1], maps[2], 3, padding=1)
        self.conv4 = nn.Conv2d(maps[2], maps[3], 3, padding=1, groups=towers)
        self.conv5 = nn.Conv2d(maps[3], maps[4], 3, padding=1, groups=towers)
        self.fc6 = nn.Linear(maps[4] * stem.side**2, design.hidden)
        self.fc7 = nn.Linear(design.hidden, design.hidden)
        self.fc8 = nn.Linear(design.hidden, num_classes)
        self.norm1, self.norm2 = normalisation(design, towers), normalisation(design, towers)
        self.pool1, self.pool2, self.pool5 = pooling(design), pooling(design), pooling(design)
        self.to_side = nn.AdaptiveAvgPool2d(stem.side) if design.adaptive else nn.Identity()
        initialise(self, design.init)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        x = self.pool1(self.norm1(self.activate(self.conv1(images))))
        x = self.pool2(self.norm2(self.activate(self.conv2(x))))
        x = self.activate(self.conv3(x))
        x = self.activate(self.conv4(x))
        x = self.pool5(self.activate(self.conv5(x)))
        x = self.to_side(x).flatten(1)
        x = self.hidden(self.fc6, x)
        x = self.hidden(self.fc7, x)
        scores: Tensor = self.fc8(x)
        return scores

    def hidden(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run one hidden layer, with dropout before or after it."""
        before, after = self.design.drop == "inputs", self.design.drop == "outputs"
        x = F.dropout(x, self.design.dropout, self.training and before)
        return F.dropout(self.activate(layer(x)), self.design.dropout, self.training and after)

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation over its input, which nothing else needs."""
        return x.relu_() if self.design.activation == "relu" else x.tanh_()


def normalisation(design: Design, groups: int) -> nn.Module:
    """Local response normalisation within a tower, k = 2, n = 5, beta = 0.75, or nothing."""
    if design.lrn == "off":
        return nn.Identity()
    return LocalResponseNorm(5, ALPHA[design.lrn], 0.75, 2.0, groups=groups)


def pooling(design: Design) -> nn.Module:
    """Max pooling by 2, over windows of 3 (overlapping, as the paper) or 2."""
    if design.pooling == "plain":
        return nn.MaxPool2d(2, 2, ceil_mode=design.stem.pool_padding > 0)
    return nn.MaxPool2d(3, 2, padding=design.stem.pool_padding)


def initialise(model: nn.Module, init: str) -> None:
    """Set the weights: `paper` section 5, `kaiming` as a teaching port does, `he` (2015) for every layer but the last.

    `default` leaves torch's. Biases are 0, but for the paper's ones of 1.
    """
    if init == "default":
        return
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if init == "he" and name != "fc8":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif init == "kaiming" and isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=0.01)
        assert layer.bias is not None
        ones = init == "paper" and name.endswith(("conv2", "conv4", "conv5", "fc6", "fc7"))
        nn.init.constant_(layer.bias, float(ones))


def _build(design: Design, num_classes: int, in_channels: int, switches: dict[str, Any]) -> nn.Module:
    try:
        return AlexNet(replace(design, **switches), num_classes, in_channels)
    except TypeError:
        allowed = ", ".join(Design.__dataclass_fields__)
        raise ValueError(f"unknown switch among {', '.join(switches)}; an AlexNet has {allowed}") from None


def alexnet_grouped(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """The paper's arithmetic on one device: two towers as groups."""
    return _build(PAPER, num_classes, in_channels, switches)


def alexnet_grouped_cifar(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """`alexnet_grouped` for 32 px."""
    return _build(replace(PAPER, stem=SMALL, init="he"), num_classes, in_channels, switches)


def alexnet_single_tower(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """The common teaching port: the paper's widths without groups and without LRN."""
    return _build(SINGLE_TOWER, num_classes, in_channels, switches)


def alexnet_single_tower_cifar(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """`alexnet_single_tower` for 32 px."""
    return _build(replace(SINGLE_TOWER, stem=SMALL, init="he"), num_classes, in_channels, switches)


def alexnet_owt(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """The network of "One weird trick" (Krizhevsky 2014), which torchvision calls alexnet."""
    return _build(OWT, num_classes, in_channels, switches)


def alexnet_owt_cifar(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """`alexnet_owt` for 32 px."""
    return _build(replace(OWT, stem=SMALL, init="he"), num_classes, in_channels, switches)
