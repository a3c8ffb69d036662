"""AlexNet's two towers as modules of their own, on one device or two, and weights from one form to another."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo import weights
from zoo.alexnet import PAPER, SMALL, AlexNet, Design, Figure, Part, join, switched
from zoo.spec import LayerCost
from zoo.weights import State


class TwoTower(Figure):
    """The towers side by side in one process, each on the device where its weights are.

    Built with the weights that the grouped network has from the same random state.
    """

    def __init__(self, design: Design, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.design = design
        grouped = AlexNet(design, num_classes, in_channels)
        self.towers = nn.ModuleList(split_network(grouped, tower) for tower in range(design.towers))

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run one part in each tower on all of `x`, and put what they give side by side on the device of `x`."""
        parts = [part(tower, x.to(tower.conv1.weight.device)) for tower in self.tower_list()]
        return torch.cat([own.to(x.device) for own in parts], 1)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Cut the grouped network's weights into the towers'."""
        return in_towers(grouped, len(self.towers))

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the towers' weights together."""
        return join([tower.state_dict() for tower in self.towers])

    def tower_list(self) -> list[AlexNet]:
        """The towers, by their type."""
        return [tower for tower in self.towers if isinstance(tower, AlexNet)]


def place(model: nn.Module, *, devices: Sequence[str | torch.device] | None = None) -> nn.Module:
    """Put each tower on a device of its own: by default two GPUs if there are two, else the CPU twice.

    ValueError for a model without towers, or another number of devices.
    """
    if not isinstance(model, TwoTower):
        raise ValueError(f"{type(model).__name__} has no towers to place; alexnet_two_tower has")
    num_towers = len(model.towers)
    if devices is None:
        on_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= num_towers
        devices = [f"cuda:{i}" for i in range(num_towers)] if on_gpus else ["cpu"] * num_towers
    if len(devices) != num_towers:
        raise ValueError(f"{len(devices)} devices for {num_towers} towers; give one a tower")
    for tower, device in zip(model.towers, devices, strict=True):
        tower.to(device)
    return model


def tower_of(model: nn.Module, tower: int) -> AlexNet:
    """Return one tower of an AlexNet that is whole.

    Itself where it is a module of its own, else cut out.
    """
    return (
        model.tower_list()[tower]
        if isinstance(model, TwoTower)
        else split_network(as_grouped(model), tower)
    )


def split_network(net: AlexNet, tower: int) -> AlexNet:
    """Cut one tower out of a grouped network, with its own copy of the weights."""
    num_classes, in_channels = net.fc8.out_features, net.conv1.in_channels
    with torch.device("meta"):
        part = AlexNet(replace(net.design, init="default"), num_classes, in_channels, tower=tower)
    part.design = net.design
    part.load_state_dict(split(net.state_dict(), tower, num_towers=net.design.towers), assign=True)
    for parameter in part.parameters():
        parameter.requires_grad_()
    return part


def as_grouped(model: nn.Module) -> AlexNet:
    """Return the grouped form of an AlexNet that is whole."""
    if isinstance(model, AlexNet):
        return model
    assert isinstance(model, TwoTower), "a share of a model can't be shared again"
    state = model.grouped_state()
    with torch.device("meta"):
        net = AlexNet(model.design, len(state["fc8.bias"]), state["conv1.weight"].shape[1])
    net.load_state_dict(state, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_()
    return net


def split(state: State, tower: int, *, num_towers: int = 2) -> dict[str, Tensor]:
    """Take one tower's share of a grouped network's state.

    The outputs of every layer are cut, its inputs aren't.
    """
    return {name: tensor.chunk(num_towers, 0)[tower].clone() for name, tensor in state.items()}


def in_towers(grouped: State, num_towers: int) -> dict[str, Tensor]:
    """Cut a grouped network's state into all towers', under the names that they have in `TwoTower`."""
    return {
        f"towers.{tower}.{name}": tensor
        for tower in range(num_towers)
        for name, tensor in split(grouped, tower, num_towers=num_towers).items()
    }


def load(model: nn.Module, state: State) -> None:
    """Load the weights of any AlexNet, grouped or in towers, into any form of the same design: whole or not at all.

    On a mesh each rank takes its share. ValueError names the first parameter that doesn't fit.
    """
    if not isinstance(model, Figure):
        raise ValueError(f"{type(model).__name__} is no AlexNet")
    weights.load(model, model.adopt(state))


CROSSINGS = {
    "pool2": "conv3",
    "pool5": "fc6",
    "fc6": "fc7",
    "fc7": "fc8",
}  # what a tower gives: who reads it


def crossings(layers: Sequence[LayerCost]) -> list[str]:
    """Say what crosses between the towers for one image, from the layers of a model.

    Nothing of one without towers.
    """
    first = {
        layer.name.removeprefix("towers.0."): layer
        for layer in layers
        if layer.name.startswith("towers.0.")
    }
    return [
        f"before {reader} cross {math.prod(first[name].output_shape):,} values of {name}, from each tower to the other"
        for name, reader in CROSSINGS.items()
        if name in first
    ]


def alexnet_two_tower(
    *, num_classes: int = 100, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """The paper's network, a module a tower."""
    return TwoTower(switched(PAPER, switches), num_classes, in_channels)


def alexnet_two_tower_cifar(
    *, num_classes: int = 100, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """`alexnet_two_tower` for 32 px."""
    return TwoTower(
        switched(replace(PAPER, stem=SMALL, init="he"), switches), num_classes, in_channels
    )
