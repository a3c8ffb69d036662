"""AlexNet's towers on a mesh of processes, with the collectives that autograd goes through.

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

from zoo.alexnet import (
    AlexNetForm,
    Design,
    Part,
    apply_conv1_conv2,
    apply_conv3_to_conv5,
    apply_fc8,
)
from zoo.two_tower import TwoTower, get_tower, take_tower, to_grouped, to_tower_names
from zoo.weights import State


@dataclass
class Wire:
    """A group of processes, and how many bytes this one has sent over it.

    A copied model shares it.
    """

    group: dist.ProcessGroup
    rank: int
    size: int
    bytes_sent: int = 0

    def __deepcopy__(self, memo: object) -> "Wire":
        return self  # a process group can't be copied

    def all_gather(self, own: Tensor) -> Tensor:
        """Return the dense tensors of all ranks, (ranks, ...)."""
        gathered = own.new_empty(self.size, *own.shape)
        dist.all_gather_single(gathered.view(-1), own.view(-1), group=self.group)
        return gathered

    def count_sent(self, sent: Tensor) -> None:
        """Count a tensor as sent to every other rank. A state that is gathered isn't counted."""
        self.bytes_sent += (self.size - 1) * sent.nbytes


class SharedAlexNet(AlexNetForm):
    """The base of both ways to share an AlexNet among processes.

    `whole` is the network that is shared; its weights' names are those of `whole_state`.
    """

    def __init__(self, wire: Wire, whole: nn.Module) -> None:
        super().__init__()
        self.wire = wire
        self.rank = wire.rank
        self.size = wire.size
        self.in_towers = isinstance(whole, TwoTower)

    @property
    def bytes_sent(self) -> int:
        """The bytes that this rank has sent to the others since the model was built."""
        return self.wire.bytes_sent

    def is_shared(self, parameter: str) -> bool:
        """Return whether every rank holds the same of a parameter, not a part of its own."""
        return False

    def whole_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of the model that is shared.

        Every rank must call it.
        """
        state = self.grouped_state()
        return to_tower_names(state, self.size) if self.in_towers else state

    def gather_columns(self, own: Tensor) -> Tensor:
        """Put the ranks' maps or units (N, own, ...) side by side.

        The gradient that comes back is the sum of the ranks'.
        """
        whole: Tensor = _GatherColumns.apply(own, self.wire)
        return whole

    def gather_scores(self, own: Tensor, num_classes: int) -> Tensor:
        """Put the ranks' scores (N, own classes) side by side: (N, num_classes).

        Every rank has the same loss of them, so each keeps its own gradient.
        """
        # Collectives take parts of one size, and the last rank may have a class less.
        missing = _divide_up(num_classes, self.size) - own.shape[1]
        scores: Tensor = _GatherScores.apply(F.pad(own, (0, missing)), self.wire)
        return scores[:, :num_classes]

    def gather_rows(self, own: Tensor, num_rows: int) -> Tensor:
        """Stack the ranks' rows (own, ...) to (num_rows, ...), without a gradient: for weights."""
        share = _divide_up(num_rows, self.size)
        sent = _fill_up(own, share).contiguous()
        whole = self.wire.all_gather(sent).flatten(0, 1)
        return whole[:num_rows]


class TowerOfMesh(SharedAlexNet):
    """One tower on this rank, the others on the other ranks of the group."""

    def __init__(self, model: nn.Module, wire: Wire) -> None:
        super().__init__(wire, model)
        self.design = _design(model)
        biases = [bias for name, bias in model.named_parameters() if name.endswith("fc8.bias")]
        self.num_classes = sum(len(bias) for bias in biases)
        self.tower = get_tower(model, self.rank)

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run one part of this tower and exchange what it gives."""
        own = part(self.tower, x)
        if part is apply_fc8:
            return self.gather_scores(own, self.num_classes)
        return self.gather_columns(own)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Cut this rank's tower out of the grouped network's weights."""
        state = take_tower(grouped, self.rank, num_towers=self.size)
        return {f"tower.{name}": tensor for name, tensor in state.items()}

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the ranks' towers together."""
        whole = {}
        for name, own in self.tower.state_dict().items():
            # All layers are cut evenly but the last, whose classes the towers may not divide.
            num_rows = self.num_classes if name.startswith("fc8.") else self.size * len(own)
            whole[name] = self.gather_rows(own, num_rows)
        return whole


class OneWeirdTrick(SharedAlexNet):
    """Data parallel convolutions, model parallel fully connected layers (Krizhevsky 2014).

    Its variant (a): each rank sees a part of the images with all of the convolutions, then all of
    the images with a part of the units.
    """

    def __init__(self, model: nn.Module, wire: Wire) -> None:
        super().__init__(wire, model)
        net = to_grouped(model)
        self.design = net.design
        self.num_classes = net.fc8.out_features
        self.net = net
        for name in ("fc6", "fc7", "fc8"):
            setattr(net, name, _take_units(net.get_submodule(name), self.rank, self.size))
        # Each rank sees its images alone: the convolutions' gradients are parts of a sum.
        for name, parameter in self.named_parameters():
            if self.is_shared(name):
                parameter.register_hook(self._sum_over_ranks)  # type: ignore[no-untyped-call]

    def is_shared(self, parameter: str) -> bool:
        """Return whether a parameter is a convolution's."""
        return parameter.startswith("net.conv")

    def run(self, part: Part, x: Tensor) -> Tensor:
        """Run the convolutions on this rank's images, the rest on its units."""
        if part is apply_conv1_conv2:
            self.num_images = len(x)
            return part(self.net, self._own_images(x))
        own = part(self.net, x)
        if part is apply_conv3_to_conv5:
            return self._gather_images(own)
        if part is apply_fc8:
            return self.gather_scores(own, self.num_classes)
        return self.gather_columns(own)

    def own_state(self, grouped: State) -> dict[str, Tensor]:
        """Take the convolutions whole and this rank's units."""
        state = {}
        for name, tensor in grouped.items():
            is_whole = name.startswith("conv")
            own = tensor if is_whole else tensor.chunk(self.size)[self.rank]
            state[f"net.{name}"] = own
        return state

    def grouped_state(self) -> dict[str, Tensor]:
        """Put the ranks' units together."""
        num_units = {"fc6": self.design.hidden, "fc7": self.design.hidden, "fc8": self.num_classes}
        whole = {}
        for name, own in self.net.state_dict().items():
            layer, _, _ = name.partition(".")
            is_whole = name.startswith("conv")
            whole[name] = own if is_whole else self.gather_rows(own, num_units[layer])
        return whole

    def _own_images(self, images: Tensor) -> Tensor:
        """Take this rank's rows of a batch, with rows of zeros where the ranks don't divide it."""
        share = _divide_up(len(images), self.size)
        own = images[self.rank * share : (self.rank + 1) * share]
        return _fill_up(own, share)

    def _gather_images(self, own: Tensor) -> Tensor:
        """Stack the ranks' rows, by way of the exchange of columns.

        That way their gradients are summed as those of columns are.
        """
        features = own.shape[1]
        columns = self.gather_columns(own)  # (share, size * features)
        by_rank = columns.view(len(own), self.size, features).transpose(0, 1)
        return by_rank.reshape(-1, features)[: self.num_images]

    def _sum_over_ranks(self, gradient: Tensor) -> Tensor:
        """Sum a gradient in the order of the ranks; the sum keeps the gradient's own layout."""
        gradients = self.wire.all_gather(gradient.contiguous())
        self.wire.count_sent(gradient)
        total = _sum_in_order(gradients)
        return torch.empty_like(gradient).copy_(total)


class _GatherColumns(torch.autograd.Function):
    """Gather forward; backward each rank gets every rank's gradient of its part, and sums them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, wire: Wire) -> Tensor:
        ctx.wire = wire
        ctx.channels_last = _is_channels_last(own)
        return _gather(own, wire)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        wire: Wire = ctx.wire
        parts = [_lay_out(part, ctx.channels_last) for part in gradient.chunk(wire.size, 1)]
        sent = torch.stack(parts)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=wire.group)
        wire.count_sent(sent[0])
        total = _sum_in_order(received)
        return _from_layout(total, ctx.channels_last), None


class _GatherScores(torch.autograd.Function):
    """Gather forward; backward each rank keeps its part of the gradient, which all ranks have."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, wire: Wire) -> Tensor:
        ctx.wire = wire
        return _gather(own, wire)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        wire: Wire = ctx.wire
        return gradient.chunk(wire.size, 1)[wire.rank], None


def _gather(own: Tensor, wire: Wire) -> Tensor:
    """Put the ranks' (N, own, ...) side by side on every rank, in the layout of `own`."""
    channels_last = _is_channels_last(own)
    dense = _lay_out(own, channels_last)
    parts = wire.all_gather(dense)
    wire.count_sent(dense)
    return torch.cat([_from_layout(part, channels_last) for part in parts], 1)


def _is_channels_last(x: Tensor) -> bool:
    # Maps of one channel or one pixel are contiguous in either layout; they count as plain.
    if x.dim() != 4 or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


def _lay_out(x: Tensor, channels_last: bool) -> Tensor:
    """Make a tensor dense: maps cross as they lie in memory, so that nothing else changes."""
    return (x.movedim(1, -1) if channels_last else x).contiguous()


def _from_layout(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(-1, 1) if channels_last else x


def _divide_up(number: int, parts: int) -> int:
    """Divide, rounding up: how many the largest of so many parts has."""
    return -(-number // parts)


def _fill_up(rows: Tensor, num_rows: int) -> Tensor:
    """Append rows of zeros up to a number of rows."""
    missing = num_rows - len(rows)
    if not missing:
        return rows
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


def _sum_in_order(parts: Tensor) -> Tensor:
    """Sum (ranks, ...) over the ranks, always in the same order: `Tensor.sum` promises none."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def _take_units(layer: nn.Module, rank: int, size: int) -> nn.Linear:
    """Cut one rank's units out of a linear layer."""
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.chunk(size)[rank]
    bias = layer.bias.chunk(size)[rank]
    share = nn.Linear(layer.in_features, len(weight), device="meta")
    # Clones: a view would keep the whole layer in memory.
    share.weight = nn.Parameter(weight.detach().clone())
    share.bias = nn.Parameter(bias.detach().clone())
    return share


def tower_of_mesh(model: nn.Module, *, group: dist.ProcessGroup, rank: int, size: int) -> nn.Module:
    """Turn an AlexNet of `size` towers into the form that holds tower `rank` of them.

    Raise ValueError where the model has no towers, or another number of them.
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
    """Turn any AlexNet into the form that shares its images before fc6 and its units after.

    Raise ValueError for another model, or fewer classes or units than processes.
    """
    hidden = _design(model).hidden
    num_classes = to_grouped(model).fc8.out_features
    if min(num_classes, hidden) < size or hidden % size:
        raise ValueError(f"{size} processes can't share {hidden} units and {num_classes} classes")
    return OneWeirdTrick(model, Wire(group, rank, size))


def _design(model: nn.Module) -> Design:
    """Return the design of an AlexNet. Raise ValueError for another model."""
    if not isinstance(model, AlexNetForm):
        raise ValueError(f"{type(model).__name__} is no AlexNet, it has no towers")
    return model.design
