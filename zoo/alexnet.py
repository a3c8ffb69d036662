"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) and the forms in which people teach and use it.

One network, `AlexNet`, and one table of what differs, `Design`. The paper's figure, at 224 px:

    image     conv1 LRN pool  conv2 LRN pool   conv3  conv4  conv5  pool  fc6    fc7    fc8
    3x224x224 48x55x55  27x27 128x27x27 13x13  192x13 192x13 128x13 6x6   2048   2048   classes/2
            \\                               both X                  both X both X both X
              48x55x55  27x27 128x27x27 13x13  192x13 192x13 128x13 6x6   2048   2048   classes/2

Two towers that read each other at conv3 and at the fully connected layers, and nowhere else. On one
device that is `groups=2` in conv2, conv4 and conv5, and LRN over each half of the maps: this file.
`zoo/two_tower.py` makes the towers modules of their own, on two devices; `zoo/tower.py` gives each
of them to a process.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.initial import centre_filters
from zoo.layer import LocalResponseNorm
from zoo.switch import check_against
from zoo.weights import State

# The authors' code, as torch, divides alpha by the 5 neighbours; the paper's formula doesn't.
ALPHA = {"code": 1e-4, "paper": 5e-4}
# Section 5: their biases are 1, so that their ReLUs get positive inputs at the start.
BIASED_LAYERS = ("conv2", "conv4", "conv5", "fc6", "fc7")


@dataclass(frozen=True, kw_only=True)
class Stem:
    """How an image becomes the maps that fc6 reads; they are `side` x `side` pixels.

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
    """What tells one AlexNet from another; the defaults are the paper's.

    `dropped` are the layers whose inputs are dropped: in the paper the outputs of fc6 and fc7.
    `adaptive` averages the last maps to `stem.side` first, whatever the image's size.
    """

    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)  # maps of conv1 to conv5
    hidden: int = 4096  # units of fc6 and of fc7
    towers: Literal[1, 2] = 2
    lrn: Literal["off", "code", "paper"] = "code"
    pooling: Literal["overlapping", "plain"] = "overlapping"
    activation: Literal["relu", "tanh"] = "relu"
    dropout: float = 0.5
    dropped: tuple[str, str] = ("fc7", "fc8")
    adaptive: bool = False
    init: Literal["paper", "default", "kaiming", "he"] = "paper"
    stem: Stem = PUBLISHED


PAPER = Design()
# As the network is mostly written down today: no groups, no normalisation.
SINGLE_TOWER = replace(PAPER, towers=1, lrn="off", adaptive=True, init="default")
NARROW = replace(SINGLE_TOWER, hidden=2048, init="kaiming")
# One of the paper's two towers, alone.
HALF = replace(SINGLE_TOWER, widths=(48, 128, 192, 192, 128), hidden=2048)
# "One weird trick" (Krizhevsky 2014), with dropout where torchvision's `alexnet` has it.
OWT = replace(SINGLE_TOWER, widths=(64, 192, 384, 256, 256), dropped=("fc6", "fc7"))


class AlexNetForm(nn.Module, ABC):
    """Any AlexNet, whole or shared: `run` says where its five parts are computed.

    The parts are cut where the towers read each other, so that a form has to say only how they
    exchange what a part gave.
    """

    design: Design

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        x = self.run(apply_conv1_conv2, images)
        x = self.run(apply_conv3_to_conv5, x)
        x = self.run(apply_fc6, self.drop("fc6", x))
        x = self.run(apply_fc7, self.drop("fc7", x))
        return self.run(apply_fc8, self.drop("fc8", x))

    @abstractmethod
    def run(self, part: "Part", x: Tensor) -> Tensor:
        """Run one part on (N, all maps or units, ...), all that the part before it gave."""

    @abstractmethod
    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Turn the grouped network's weights into this form's, or this rank's share of them."""

    @abstractmethod
    def grouped_state(self) -> dict[str, Tensor]:
        """Return these weights as the grouped network's; on a mesh every rank must call it."""

    def adopt(self, state: State) -> State:
        """Turn the weights of any form of an AlexNet into this form's.

        Raise ValueError where a tower lacks a parameter.
        """
        return self.own_state(to_grouped_state(state))

    def drop(self, layer: str, x: Tensor) -> Tensor:
        """Drop values of a layer's input, of all towers at once.

        Ranks with the same random state so drop the same values.
        """
        active = self.training and layer in self.design.dropped
        return F.dropout(x, self.design.dropout, active)


class AlexNet(AlexNetForm):
    """An AlexNet of one design on one device; with `tower`, the layers of that tower alone."""

    def __init__(
        self, design: Design, num_classes: int, in_channels: int, *, tower: int | None = None
    ) -> None:
        super().__init__()
        self.design = design
        stem = design.stem
        # One tower has its share of every layer's outputs; conv3 and the fully connected layers
        # read the outputs of all towers, so their inputs aren't shared out.
        num_shares = 1 if tower is None else design.towers
        groups = design.towers // num_shares
        maps = design.widths
        own = [width // num_shares for width in maps]
        hidden = design.hidden // num_shares
        # Where the towers don't divide the classes, the first have one more, as Tensor.chunk cuts.
        classes = torch.arange(num_classes, device="cpu").chunk(num_shares)
        self.conv1 = nn.Conv2d(in_channels, own[0], stem.kernel, stem.stride, stem.padding)
        self.norm1 = build_norm(design, groups)
        self.pool1 = build_pool(design)
        self.conv2 = nn.Conv2d(own[0], own[1], 5, padding=2, groups=groups)
        self.norm2 = build_norm(design, groups)
        self.pool2 = build_pool(design)
        self.conv3 = nn.Conv2d(maps[1], own[2], 3, padding=1)  # reads all towers: no groups
        self.conv4 = nn.Conv2d(own[2], own[3], 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(own[3], own[4], 3, padding=1, groups=groups)
        self.pool5 = build_pool(design)
        self.to_side = nn.AdaptiveAvgPool2d(stem.side) if design.adaptive else nn.Identity()
        self.fc6 = nn.Linear(maps[4] * stem.side**2, hidden)
        self.fc7 = nn.Linear(design.hidden, hidden)
        self.fc8 = nn.Linear(design.hidden, len(classes[tower or 0]))
        initialise(self, design.init)

    def run(self, part: "Part", x: Tensor) -> Tensor:
        """Run one part here."""
        return part(self, x)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Return the grouped network's weights, which are its own."""
        return dict(grouped)

    def grouped_state(self) -> dict[str, Tensor]:
        """Return its own weights, which are the grouped network's."""
        return self.state_dict()

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation in place: nothing else reads its input."""
        return x.relu_() if self.design.activation == "relu" else x.tanh_()


Part = Callable[[AlexNet, Tensor], Tensor]


def apply_conv1_conv2(net: AlexNet, images: Tensor) -> Tensor:
    """Apply conv1 and conv2, each with its normalisation and pooling."""
    x = net.activate(net.conv1(images))
    x = net.pool1(net.norm1(x))
    x = net.activate(net.conv2(x))
    maps: Tensor = net.pool2(net.norm2(x))
    return maps


def apply_conv3_to_conv5(net: AlexNet, x: Tensor) -> Tensor:
    """Apply conv3, conv4, conv5 and the last pooling; return (N, units)."""
    x = net.activate(net.conv3(x))
    x = net.activate(net.conv4(x))
    x = net.activate(net.conv5(x))
    x = net.to_side(net.pool5(x))
    return x.flatten(1)


def apply_fc6(net: AlexNet, x: Tensor) -> Tensor:
    """Apply fc6."""
    return net.activate(net.fc6(x))


def apply_fc7(net: AlexNet, x: Tensor) -> Tensor:
    """Apply fc7."""
    return net.activate(net.fc7(x))


def apply_fc8(net: AlexNet, x: Tensor) -> Tensor:
    """Apply fc8."""
    scores: Tensor = net.fc8(x)
    return scores


def build_norm(design: Design, groups: int) -> nn.Module:
    """Build local response normalisation within each tower, or the identity (section 3.3)."""
    if design.lrn == "off":
        return nn.Identity()
    return LocalResponseNorm(size=5, alpha=ALPHA[design.lrn], beta=0.75, k=2.0, groups=groups)


def build_pool(design: Design) -> nn.Module:
    """Build max pooling by 2, over windows of 3 (overlapping, as in the paper) or of 2.

    Either gives maps of the same side (section 3.4).
    """
    if design.pooling == "plain":
        return nn.MaxPool2d(2, 2)
    return nn.MaxPool2d(3, 2, padding=design.stem.pool_padding)


def initialise(net: nn.Module, init: str) -> None:
    """Draw the weights in one of four ways.

    `paper`: section 5, N(0, 0.01), some biases 1. `kaiming`: as a widespread teaching port.
    `he`: He et al. (2015) with centred filters and scores that start near 0, for a quick start.
    `default`: torch's own, untouched. Biases are 0, but for the paper's ones.
    """
    if init == "default":
        return
    for name, layer in net.named_children():  # in order: each layer draws from the random state
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if init == "he" and name != "fc8":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif init == "kaiming" and name.startswith("conv"):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=0.001 if init == "he" else 0.01)
        assert layer.bias is not None
        has_bias = init == "paper" and name in BIASED_LAYERS
        nn.init.constant_(layer.bias, 1.0 if has_bias else 0.0)
    if init == "he":
        centre_filters(net)


def join_towers(states: Sequence[State]) -> dict[str, Tensor]:
    """Put the states of all towers together as a grouped network's, on the first one's devices.

    Raise ValueError where a tower lacks a parameter.
    """
    first = states[0]
    for state in states[1:]:
        differing = sorted(first.keys() ^ state.keys())
        if differing:
            raise ValueError(f"not every tower has {differing[0]}")
    joined = {}
    for name, tensor in first.items():
        # The towers cut each layer's outputs, and outputs are the first axis of weight and bias.
        parts = [state[name].to(tensor.device) for state in states]
        joined[name] = torch.cat(parts)
    return joined


def to_grouped_state(state: State) -> State:
    """Return the state of a network in towers (`towers.0.conv1.weight`) as a grouped network's.

    Any other state is returned as it is.
    """
    towers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"towers\.(\d+)\.(.+)", name)
        if found:
            towers.setdefault(int(found[1]), {})[found[2]] = tensor
    if not towers:
        return state
    return join_towers([towers[number] for number in sorted(towers)])


def apply_switches(design: Design, switches: dict[str, Any]) -> Design:
    """Return a design with some values changed.

    Raise ValueError for a switch that `Design` lacks, or a value that the switch doesn't allow.
    """
    check_against(get_type_hints(Design), switches)
    return replace(design, **switches)


def make_builder(design: Design, **changes: Any) -> Callable[..., nn.Module]:
    """Return the function that builds one design, with the design's own switches."""
    changed = replace(design, **changes)

    def build(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
        return AlexNet(apply_switches(changed, switches), num_classes, in_channels)

    return build


alexnet_grouped = make_builder(PAPER)
alexnet_grouped_cifar = make_builder(PAPER, stem=SMALL, init="he")
alexnet_single_tower = make_builder(SINGLE_TOWER)
alexnet_single_tower_cifar = make_builder(SINGLE_TOWER, stem=SMALL, init="he")
alexnet_single_tower_narrow = make_builder(NARROW)
alexnet_single_tower_narrow_cifar = make_builder(NARROW, stem=SMALL)
alexnet_half = make_builder(HALF)
alexnet_half_cifar = make_builder(HALF, stem=SMALL, init="he")
alexnet_owt = make_builder(OWT)
alexnet_owt_cifar = make_builder(OWT, stem=SMALL, init="he")
