"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) and the forms in which people teach and use it.

One network, `AlexNet`, and one table of what differs, `Design`. The paper's figure, at 224 px:

    image       conv1  LRN pool   conv2  LRN pool     conv3   conv4   conv5   pool   fc6     fc7     fc8
    3x224x224   48x55x55   27x27  128x27x27  13x13    192x13  192x13  128x13   6x6   2048    2048    half the classes
            \\                                  both X                         both X  both X  both X  both
                48x55x55   27x27  128x27x27  13x13    192x13  192x13  128x13   6x6   2048    2048    the other half

Two towers that read each other at conv3 and at the fully connected layers, and nowhere else. On one
device that is `groups=2` in conv2, conv4 and conv5, and LRN over each half of the maps: this file.
`zoo/two_tower.py` makes the towers modules of their own, on two devices; `zoo/tower.py` gives each
of them to a process.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.initial import centre_filters
from zoo.layer import LocalResponseNorm
from zoo.weights import State

ALPHA = {
    "code": 1e-4,
    "paper": 5e-4,
}  # the authors' code, as torch, divided alpha by the 5 neighbours; the paper doesn't


@dataclass(frozen=True, kw_only=True)
class Stem:
    """How an image becomes the maps that fc6 reads; `side` is the side of those.

    The paper's 224 px give 54.25, which the authors' code rounded up to 55; a border of 2 gives 55
    too.
    """

    kernel: int = 11
    stride: int = 4
    padding: int = 2
    pool_padding: int = 0
    side: int = 6


PUBLISHED = Stem()
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
    dropped: tuple[str, str] = (
        "fc7",
        "fc8",
    )  # whose inputs are dropped: the outputs of fc6 and fc7
    adaptive: bool = False  # average the last maps to `stem.side` first, whatever the image's size
    init: Literal["paper", "default", "kaiming", "he"] = "paper"
    stem: Stem = PUBLISHED


PAPER = Design()
SINGLE_TOWER = replace(PAPER, towers=1, lrn="off", adaptive=True, init="default")
NARROW = replace(SINGLE_TOWER, hidden=2048, init="kaiming")
HALF = replace(SINGLE_TOWER, widths=(48, 128, 192, 192, 128), hidden=2048)
OWT = replace(SINGLE_TOWER, widths=(64, 192, 384, 256, 256), dropped=("fc6", "fc7"))


class Figure(nn.Module):
    """The way of an image through any AlexNet; `run` says where its five parts are computed."""

    design: Design

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        x = self.run(early, images)
        x = self.run(late, x)
        x = self.run(sixth, self.drop("fc6", x))
        x = self.run(seventh, self.drop("fc7", x))
        return self.run(eighth, self.drop("fc8", x))

    def run(self, part: "Part", x: Tensor) -> Tensor:
        """Run one part of the network on all that the part before gave.

        (N, all maps or units, ...).
        """
        raise NotImplementedError

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Turn the weights of the grouped network into this form's, or this rank's share of them."""
        raise NotImplementedError

    def grouped_state(self) -> dict[str, Tensor]:
        """Return these weights as the grouped network's; on a mesh every rank must call it."""
        raise NotImplementedError

    def adopt(self, state: State) -> State:
        """Turn the weights of any form of an AlexNet into this form's.

        ValueError where a tower lacks a parameter.
        """
        return self.own_state(regrouped(state))

    def drop(self, layer: str, x: Tensor) -> Tensor:
        """Drop values of a layer's input, of all towers at once.

        Whoever counts from the same seed drops the same.
        """
        return F.dropout(x, self.design.dropout, self.training and layer in self.design.dropped)


class AlexNet(Figure):
    """An AlexNet of one design on one device; with `tower`, the layers of that tower alone."""

    def __init__(
        self, design: Design, num_classes: int, in_channels: int, *, tower: int | None = None
    ) -> None:
        super().__init__()
        self.design = design
        parts = 1 if tower is None else design.towers
        maps, groups, stem = design.widths, design.towers // parts, design.stem
        own = [width // parts for width in maps]
        own_classes = [len(part) for part in torch.arange(num_classes, device="cpu").chunk(parts)]
        self.conv1 = nn.Conv2d(in_channels, own[0], stem.kernel, stem.stride, stem.padding)
        self.norm1, self.pool1 = normalisation(design, groups), pooling(design)
        self.conv2 = nn.Conv2d(own[0], own[1], 5, padding=2, groups=groups)
        self.norm2, self.pool2 = normalisation(design, groups), pooling(design)
        self.conv3 = nn.Conv2d(maps[1], own[2], 3, padding=1)  # reads both towers
        self.conv4 = nn.Conv2d(own[2], own[3], 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(own[3], own[4], 3, padding=1, groups=groups)
        self.pool5 = pooling(design)
        self.to_side = nn.AdaptiveAvgPool2d(stem.side) if design.adaptive else nn.Identity()
        self.fc6 = nn.Linear(maps[4] * stem.side**2, design.hidden // parts)
        self.fc7 = nn.Linear(design.hidden, design.hidden // parts)
        self.fc8 = nn.Linear(design.hidden, own_classes[tower or 0])
        initialise(self, design.init)

    def run(self, part: "Part", x: Tensor) -> Tensor:
        """Run one part here."""
        return part(self, x)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """The grouped network's are its own."""
        return dict(grouped)

    def grouped_state(self) -> dict[str, Tensor]:
        """The grouped network's are its own."""
        return self.state_dict()

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation over its input, which nothing else needs."""
        return x.relu_() if self.design.activation == "relu" else x.tanh_()


Part = Callable[[AlexNet, Tensor], Tensor]


def early(net: AlexNet, images: Tensor) -> Tensor:
    """conv1 and conv2, each with its normalisation and pooling."""
    x = net.pool1(net.norm1(net.activate(net.conv1(images))))
    maps: Tensor = net.pool2(net.norm2(net.activate(net.conv2(x))))
    return maps


def late(net: AlexNet, x: Tensor) -> Tensor:
    """conv3, conv4, conv5 and the last pooling, flat."""
    x = net.activate(net.conv3(x))
    x = net.activate(net.conv4(x))
    x = net.pool5(net.activate(net.conv5(x)))
    flat: Tensor = net.to_side(x).flatten(1)
    return flat


def sixth(net: AlexNet, x: Tensor) -> Tensor:
    """fc6."""
    return net.activate(net.fc6(x))


def seventh(net: AlexNet, x: Tensor) -> Tensor:
    """fc7."""
    return net.activate(net.fc7(x))


def eighth(net: AlexNet, x: Tensor) -> Tensor:
    """fc8."""
    scores: Tensor = net.fc8(x)
    return scores


def normalisation(design: Design, groups: int) -> nn.Module:
    """Local response normalisation within a tower (section 3.3.

    K = 2, n = 5, beta = 0.75), or nothing.
    """
    return (
        nn.Identity()
        if design.lrn == "off"
        else LocalResponseNorm(5, ALPHA[design.lrn], 0.75, 2.0, groups=groups)
    )


def pooling(design: Design) -> nn.Module:
    """Max pooling by 2, over windows of 3 (overlapping, as in the paper) or of 2.

    The sides are the same.
    """
    if design.pooling == "plain":
        return nn.MaxPool2d(2, 2)
    return nn.MaxPool2d(3, 2, padding=design.stem.pool_padding)


def initialise(net: nn.Module, init: str) -> None:
    """Set the weights: `paper` section 5, `kaiming` as a teaching port does, `he` (2015, centred) for a quick start.

    `default` leaves torch's; `he` starts the scores near 0. Biases are 0, but for the paper's ones
    of 1.
    """
    layers = {
        name: layer
        for name, layer in net.named_children()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    for name, layer in layers.items() if init != "default" else ():
        if init == "he" and name != "fc8":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif init == "kaiming" and name.startswith("conv"):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=0.001 if init == "he" else 0.01)
        assert layer.bias is not None
        nn.init.constant_(
            layer.bias, float(init == "paper" and name in ("conv2", "conv4", "conv5", "fc6", "fc7"))
        )
    if init == "he":
        centre_filters(net)


def join(states: Sequence[State]) -> dict[str, Tensor]:
    """Put the states of all towers together as a grouped network's.

    ValueError where a tower lacks a parameter.
    """
    for state in states[1:]:
        for name in sorted(states[0].keys() ^ state.keys()):
            raise ValueError(f"not every tower has {name}")
    return {
        name: torch.cat([state[name].to(states[0][name].device) for state in states])
        for name in states[0]
    }


def regrouped(state: State) -> State:
    """Return the state of a network in towers (`towers.0.conv1.weight`) as a grouped network's.

    Others as they are.
    """
    towers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"towers\.(\d+)\.(.+)", name)
        if found:
            towers.setdefault(int(found[1]), {})[found[2]] = tensor
    return join([towers[i] for i in sorted(towers)]) if towers else state


def switched(design: Design, switches: dict[str, Any]) -> Design:
    """Change a design. ValueError for a switch that it lacks, or a value that the switch hasn't."""
    known = get_type_hints(Design)
    for switch, value in switches.items():
        if switch not in known:
            raise ValueError(f"an AlexNet has no switch {switch!r}; it has {', '.join(known)}")
        allowed = get_args(known[switch]) if get_origin(known[switch]) is Literal else ()
        if allowed and value not in allowed:
            raise ValueError(f"an AlexNet's {switch} is {' or '.join(allowed)}, not {value!r}")
    return replace(design, **switches)


def variant(design: Design, **changes: Any) -> Callable[..., nn.Module]:
    """Make the function that builds one design, with the usual arguments and the design's own switches."""

    def build(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
        return AlexNet(switched(replace(design, **changes), switches), num_classes, in_channels)

    return build


alexnet_grouped = variant(PAPER)
alexnet_grouped_cifar = variant(PAPER, stem=SMALL, init="he")
alexnet_single_tower = variant(SINGLE_TOWER)
alexnet_single_tower_cifar = variant(SINGLE_TOWER, stem=SMALL, init="he")
alexnet_single_tower_narrow = variant(NARROW)
alexnet_single_tower_narrow_cifar = variant(NARROW, stem=SMALL)
alexnet_half = variant(HALF)
alexnet_half_cifar = variant(HALF, stem=SMALL, init="he")
alexnet_owt = variant(OWT)
alexnet_owt_cifar = variant(OWT, stem=SMALL, init="he")
