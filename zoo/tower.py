"""AlexNet's towers on a mesh of processes: activations cross by collectives that autograd goes through.

Every rank of a tower axis reads the same images and returns all scores. What crosses goes forward
by `all_gather_single` and back by `all_to_all_single` and a sum in the order of the ranks, so that
the result is the same to the bit as one process that runs the towers in a loop
(`zoo/two_tower.py`).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.alexnet import Design, Figure, Part, early, eighth, late
from zoo.two_tower import TwoTower, as_grouped, in_towers, split, tower_of
from zoo.weights import State


@dataclass
class Wire:
    """A group of processes, and the count of the bytes that this one sent over it.

    A copied model shares it.
    """

    group: dist.ProcessGroup
    rank: int
    size: int
    bytes_sent: int = 0

    def __deepcopy__(self, memo: object) -> "Wire":
        return self


class Mesh(Figure):
    """What both ways to share an AlexNet need.

    `whole` is the one that is shared, for the names of its weights.
    """

    def __init__(self, wire: Wire, whole: nn.Module) -> None:
        super().__init__()
        self.wire, self.rank, self.size = wire, wire.rank, wire.size
        self.in_towers = isinstance(whole, TwoTower)

    @property
    def bytes_sent(self) -> int:
        """The bytes that this rank has sent to the others since the model was built."""
        return self.wire.bytes_sent

    def is_shared(self, parameter: str) -> bool:
        """Say whether every rank holds the same of a parameter, instead of a part of its own."""
        return False

    def whole_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of the model that is shared.

        Every rank must call it.
        """
        state = self.grouped_state()
        return in_towers(state, self.size) if self.in_towers else state

    def all_columns(self, own: Tensor) -> Tensor:
        """Put the ranks' maps or units (N, own, ...) side by side.

        The sum of the ranks' gradients comes back.
        """
        whole: Tensor = _Columns.apply(own, self.wire)
        return whole

    def all_scores(self, own: Tensor, num_classes: int) -> Tensor:
        """Put the ranks' scores side by side.

        Every rank has the same loss of them, so each keeps its own gradient.
        """
        missing = -(-num_classes // self.size) - own.shape[1]
        scores: Tensor = _Scores.apply(F.pad(own, (0, missing)), self.wire)
        return scores[:, :num_classes]

    def all_rows(self, own: Tensor, num_rows: int) -> Tensor:
        """Put the ranks' rows below each other, without a gradient.

        Every rank's weights to every rank.
        """
        share = -(-num_rows // self.size)
        wire = torch.cat([own, own.new_zeros(share - len(own), *own.shape[1:])]).contiguous()
        whole = wire.new_empty(self.size * share, *own.shape[1:])
        dist.all_gather_single(whole.view(-1), wire.view(-1), group=self.wire.group)
        return whole[:num_rows]


class TowerOfMesh(Mesh):
    """One tower on this rank, the others on the other ranks of the group."""

    def __init__(self, model: nn.Module, wire: Wire) -> None:
        super().__init__(wire, model)
        self.design = _design(model)
        self.num_classes = sum(
            len(bias) for name, bias in model.named_parameters() if name.endswith("fc8.bias")
        )
        self.tower = tower_of(model, self.rank)

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run one part of this tower and exchange what it gives."""
        own = part(self.tower, x)
        return self.all_scores(own, self.num_classes) if part is eighth else self.all_columns(own)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Cut this rank's tower out of the grouped network's weights."""
        return {
            f"tower.{name}": part
            for name, part in split(grouped, self.rank, num_towers=self.size).items()
        }

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the ranks' towers together."""
        rows = {"fc8.weight": self.num_classes, "fc8.bias": self.num_classes}
        return {
            name: self.all_rows(own, rows.get(name, self.size * len(own)))
            for name, own in self.tower.state_dict().items()
        }


class OneWeirdTrick(Mesh):
    """Data parallel convolutions, model parallel fully connected layers (Krizhevsky 2014, variant (a)).

    Each rank sees a part of the images with all of the convolutions, then all of the images with a
    part of the units.
    """

    def __init__(self, model: nn.Module, wire: Wire) -> None:
        super().__init__(wire, model)
        net = as_grouped(model)
        self.design = net.design
        self.num_classes = net.fc8.out_features
        self.net = net
        for name in ("fc6", "fc7", "fc8"):
            setattr(net, name, _share(net.get_submodule(name), self.rank, self.size))
        for name, parameter in self.named_parameters():
            if self.is_shared(name):
                parameter.register_hook(self._sum_over_ranks)  # type: ignore[no-untyped-call]

    def is_shared(self, parameter: str) -> bool:
        """The convolutions are."""
        return parameter.startswith("net.conv")

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run the convolutions on this rank's images, the rest on its units."""
        if part is early:
            self.num_images = len(x)
            return part(self.net, self._own_images(x))
        own = part(self.net, x)
        if part is late:
            return self._all_images(own)
        return self.all_scores(own, self.num_classes) if part is eighth else self.all_columns(own)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Take the convolutions whole and this rank's units."""
        shared = {
            name: t if name.startswith("conv") else t.chunk(self.size)[self.rank]
            for name, t in grouped.items()
        }
        return {f"net.{name}": tensor for name, tensor in shared.items()}

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the ranks' units together."""
        rows = {"fc6": self.design.hidden, "fc7": self.design.hidden, "fc8": self.num_classes}
        return {
            name: own
            if name.startswith("conv")
            else self.all_rows(own, rows[name.partition(".")[0]])
            for name, own in self.net.state_dict().items()
        }

    def _own_images(self, images: Tensor) -> Tensor:
        """Take this rank's rows of a batch that is filled up with zeros where the ranks don't divide it."""
        share = -(-len(images) // self.size)
        own = images[self.rank * share : (self.rank + 1) * share]
        return (
            own
            if len(own) == share
            else torch.cat([own, own.new_zeros(share - len(own), *images.shape[1:])])
        )

    def _all_images(self, own: Tensor) -> Tensor:
        """Put the ranks' rows below each other, by way of the exchange of columns."""
        features = own.shape[1]
        columns = self.all_columns(own)  # (share, size * features)
        rows = columns.view(len(own), self.size, features).transpose(0, 1).reshape(-1, features)
        return rows[: self.num_images]

    def _sum_over_ranks(self, gradient: Tensor) -> Tensor:
        """Sum a gradient in the order of the ranks."""
        gradients = gradient.new_empty(self.size, *gradient.shape)
        dist.all_gather_single(
            gradients.view(-1), gradient.contiguous().view(-1), group=self.wire.group
        )
        self.wire.bytes_sent += (self.size - 1) * gradient.nbytes
        return torch.empty_like(gradient).copy_(
            _sum_in_order(gradients)
        )  # in the gradient's own layout


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, wire: Wire) -> Tensor:
        ctx.wire, ctx.channels_last = wire, _is_channels_last(own)
        return _gather_columns(own, wire)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        wire: Wire = ctx.wire
        parts = torch.stack(
            [_to_wire(part, ctx.channels_last) for part in gradient.chunk(wire.size, 1)]
        )
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=wire.group)
        wire.bytes_sent += (wire.size - 1) * parts[0].nbytes
        return _from_wire(_sum_in_order(received), ctx.channels_last), None


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, wire: Wire) -> Tensor:
        ctx.wire = wire
        return _gather_columns(own, wire)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        wire: Wire = ctx.wire
        return gradient.chunk(wire.size, 1)[wire.rank], None


def _gather_columns(own: Tensor, wire: Wire) -> Tensor:
    channels_last = _is_channels_last(own)
    dense = _to_wire(own, channels_last)
    parts = dense.new_empty(wire.size, *dense.shape)
    dist.all_gather_single(parts.view(-1), dense.view(-1), group=wire.group)
    wire.bytes_sent += (wire.size - 1) * dense.nbytes
    return torch.cat([_from_wire(part, channels_last) for part in parts], 1)


def _is_channels_last(x: Tensor) -> bool:
    return (
        x.dim() == 4
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _to_wire(x: Tensor, channels_last: bool) -> Tensor:
    """Lay a tensor out dense: maps cross as they lie in memory, so that nothing else changes."""
    return (x.movedim(1, -1) if channels_last else x).contiguous()


def _from_wire(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(-1, 1) if channels_last else x


def _sum_in_order(parts: Tensor) -> Tensor:
    """Sum (ranks, ...) over the ranks, always in the same order."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def _share(layer: nn.Module, rank: int, size: int) -> nn.Linear:
    """Cut one rank's units out of a linear layer."""
    assert isinstance(layer, nn.Linear)
    weight, bias = layer.weight.chunk(size)[rank], layer.bias.chunk(size)[rank]
    share = nn.Linear(layer.in_features, len(weight), device="meta")
    share.weight, share.bias = (
        nn.Parameter(weight.detach().clone()),
        nn.Parameter(bias.detach().clone()),
    )
    return share


def tower_of_mesh(model: nn.Module, *, group: dist.ProcessGroup, rank: int, size: int) -> nn.Module:
    """Turn an AlexNet of `size` towers into the form that holds tower `rank` of them.

    ValueError where the model has no towers, or another number of them.
    """
    num_towers = _design(model).towers
    if num_towers != size:
        raise ValueError(
            f"{size} processes for an AlexNet of {num_towers} towers; give one process a tower"
        )
    return TowerOfMesh(model, Wire(group, rank, size))


def one_weird_trick(
    model: nn.Module, *, group: dist.ProcessGroup, rank: int, size: int
) -> nn.Module:
    """Turn any AlexNet into the form that shares its images before fc6 and its units from there on.

    ValueError for another model, or fewer classes or units than processes.
    """
    hidden, num_classes = _design(model).hidden, as_grouped(model).fc8.out_features
    if min(num_classes, hidden) < size or hidden % size:
        raise ValueError(f"{size} processes can't share {hidden} units and {num_classes} classes")
    return OneWeirdTrick(model, Wire(group, rank, size))


def _design(model: nn.Module) -> Design:
    """The design of an AlexNet. ValueError for another model."""
    if not isinstance(model, Figure):
        raise ValueError(f"{type(model).__name__} is no AlexNet, it has no towers")
    return model.design
