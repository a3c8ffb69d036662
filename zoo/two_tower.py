"""AlexNet's two towers as modules of their own, on one device or two.

Here too is how weights go from one form of an AlexNet into another.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo import weights
from zoo.alexnet import (
    PAPER,
    SMALL,
    AlexNet,
    AlexNetForm,
    Design,
    Part,
    apply_switches,
    join_towers,
)
from zoo.spec import LayerCost
from zoo.weights import State


class TwoTower(AlexNetForm):
    """The towers side by side in one process, each on the device where its weights are.

    Built with the weights that the grouped network has from the same random state.
    """

    def __init__(self, design: Design, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.design = design
        grouped = AlexNet(design, num_classes, in_channels)
        self.towers = nn.ModuleList(cut_tower(grouped, tower) for tower in range(design.towers))

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run one part in each tower on all of `x`; return what they give, on the device of `x`."""
        outputs = []
        for tower in self.tower_list():
            own = part(tower, x.to(tower.conv1.weight.device))
            outputs.append(own.to(x.device))
        return torch.cat(outputs, 1)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Cut the grouped network's weights into the towers'."""
        return to_tower_names(grouped, len(self.towers))

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the towers' weights together."""
        return join_towers([tower.state_dict() for tower in self.towers])

    def tower_list(self) -> list[AlexNet]:
        """Return the towers by their type, which `nn.ModuleList` doesn't know."""
        return [tower for tower in self.towers if isinstance(tower, AlexNet)]


def place(model: nn.Module, *, devices: Sequence[str | torch.device] | None = None) -> nn.Module:
    """Put each tower on a device of its own, and return the model.

    By default a GPU each, or the one that there is, else the CPU. Raise ValueError for a model
    without towers, or another number of devices.
    """
    if not isinstance(model, TwoTower):
        raise ValueError(f"{type(model).__name__} has no towers to place; alexnet_two_tower has")
    num_towers = len(model.towers)
    if devices is None:
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        devices = ["cpu"] * num_towers
        if num_gpus:
            devices = [f"cuda:{tower % num_gpus}" for tower in range(num_towers)]
    if len(devices) != num_towers:
        raise ValueError(f"{len(devices)} devices for {num_towers} towers; give one a tower")
    for tower, device in zip(model.towers, devices, strict=True):
        tower.to(device)
    return model


def get_tower(model: nn.Module, tower: int) -> AlexNet:
    """Return one tower of a whole AlexNet: itself where it is a module of its own, else cut out."""
    if isinstance(model, TwoTower):
        return model.tower_list()[tower]
    return cut_tower(to_grouped(model), tower)


def cut_tower(net: AlexNet, tower: int) -> AlexNet:
    """Cut one tower out of a grouped network, with its own copy of the weights."""
    # Built without numbers and without initialisation, so that no random number is drawn.
    blank = replace(net.design, init="default")
    with torch.device("meta"):
        part = AlexNet(blank, net.fc8.out_features, net.conv1.in_channels, tower=tower)
    part.design = net.design  # with the init that it was drawn by, for whoever reads it
    state = take_tower(net.state_dict(), tower, num_towers=net.design.towers)
    return _assign(part, state)


def to_grouped(model: nn.Module) -> AlexNet:
    """Return the grouped form of a whole AlexNet."""
    if isinstance(model, AlexNet):
        return model
    assert isinstance(model, TwoTower), "a share of a model can't be shared again"
    state = model.grouped_state()
    num_classes, in_channels = len(state["fc8.bias"]), state["conv1.weight"].shape[1]
    with torch.device("meta"):
        net = AlexNet(model.design, num_classes, in_channels)
    return _assign(net, state)


def _assign(net: AlexNet, state: State) -> AlexNet:
    """Give a network that was built on `meta` its weights, and let them learn.

    A state's tensors require no gradient, and are assigned as they are.
    """
    net.load_state_dict(state, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_()
    return net


def take_tower(state: State, tower: int, *, num_towers: int = 2) -> dict[str, Tensor]:
    """Take one tower's share of a grouped network's state.

    The outputs of every layer are cut, its inputs aren't.
    """
    return {name: tensor.chunk(num_towers, 0)[tower].clone() for name, tensor in state.items()}


def to_tower_names(grouped: State, num_towers: int) -> dict[str, Tensor]:
    """Cut a grouped network's state into all towers', under their names in `TwoTower`."""
    state = {}
    for tower in range(num_towers):
        for name, tensor in take_tower(grouped, tower, num_towers=num_towers).items():
            state[f"towers.{tower}.{name}"] = tensor
    return state


def load(model: nn.Module, state: State) -> None:
    """Load the weights of any AlexNet into any form of the same design: whole or not at all.

    Either may be grouped or in towers; on a mesh each rank takes its share. Raise ValueError naming
    the first parameter that doesn't fit.
    """
    if not isinstance(model, AlexNetForm):
        raise ValueError(f"{type(model).__name__} is no AlexNet")
    weights.load(model, model.adopt(state))


# The layers whose outputs go to the other tower, and the layers that read them there.
CROSSINGS = {"pool2": "conv3", "pool5": "fc6", "fc6": "fc7", "fc7": "fc8"}


def describe_crossings(layers: Sequence[LayerCost]) -> list[str]:
    """Say what crosses between the towers for one image, from the layers of a model.

    Return a line a crossing; none for a model without towers.
    """
    prefix = "towers.0."
    lines = []
    outputs = {layer.name: layer.output_shape for layer in layers}
    for name, reader in CROSSINGS.items():
        shape = outputs.get(prefix + name)
        if shape is not None:
            values = f"{math.prod(shape):,} values of {name}"
            lines.append(f"before {reader} cross {values}, from each tower to the other")
    return lines


def alexnet_two_tower(
    *, num_classes: int = 100, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """Build the paper's network, a module a tower."""
    return TwoTower(apply_switches(PAPER, switches), num_classes, in_channels)


def alexnet_two_tower_cifar(
    *, num_classes: int = 100, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """Build `alexnet_two_tower` for 32 px."""
    small = replace(PAPER, stem=SMALL, init="he")
    return TwoTower(apply_switches(small, switches), num_classes, in_channels)
