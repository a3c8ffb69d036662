"""The two axes of a world, and how models, gradients and statistics go along them.

Ranks along the data axis see different images; ranks along the model axis hold parts of one model.
Imported by `runtime.py` alone.
"""

import datetime
import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from bench.distributed.gang import Gang, SingleGang, make_gang


class Axes(NamedTuple):
    """This process's neighbours along each axis."""

    data: Gang
    model: Gang


@runtime_checkable
class ModelPart(Protocol):
    """A rank's part of a model that several ranks hold; `zoo/tower.py` has two kinds."""

    def is_shared(self, parameter: str) -> bool:
        """Return whether every rank holds the same of a parameter, instead of a part of its own."""

    def whole_state(self) -> dict[str, torch.Tensor]:
        """Return the whole model's weights under its own names. A collective call."""


def find_axes(rank: int, size: int, *, model_size: int, patience: datetime.timedelta) -> Axes:
    """Place this process on the two axes. The ranks that hold parts of one model are neighbours.

    `patience` is the time after which a call along an axis gives up.
    """
    if model_size == 1:
        return Axes(make_gang(rank, size), SingleGang())
    every_rank = list(range(size))
    sharers = [every_rank[first : first + model_size] for first in range(0, size, model_size)]
    copies = [every_rank[part::model_size] for part in range(model_size)]
    # Not by torch's device mesh: it takes no time-out, and its groups wait for 10 or 30 minutes.
    model_group, _ = dist.new_subgroups_by_enumeration(sharers, timeout=patience)
    data_group, _ = dist.new_subgroups_by_enumeration(copies, timeout=patience)
    data_rank, model_rank = divmod(rank, model_size)
    return Axes(
        make_gang(data_rank, size // model_size, data_group),
        make_gang(model_rank, model_size, model_group),
    )


def share_model(model: nn.Module, way: str, gang: Gang, device: torch.device) -> nn.Module:
    """Return this rank's part of a model.

    `way` names the function, MODULE:FUNCTION, that turns the model into its parts. One process
    spreads the model over its own devices, so that function is told neither of ranks nor a device.
    """
    module, _, name = way.partition(":")
    share = cast(Callable[..., nn.Module], getattr(importlib.import_module(module), name))
    if gang.size == 1:
        return share(model)
    return share(model.to(device), group=gang.group, rank=gang.rank, size=gang.size)


def average_gradients(
    model: nn.Module, gang: Gang, *, in_rank_order: bool, leaves_some: bool
) -> nn.Module:
    """Make a model take the mean of its gradients over the ranks at each backward pass.

    With `in_rank_order` it is their sum, added one rank after another: the same to the bit in any
    world that splits a step into the same micro-batches. `leaves_some`: a backward pass may reach
    only some of the parameters, so that each has to be looked for. Buffers stay local.
    """
    if gang.size == 1:
        return (
            model  # there is nothing to average, and DDP refuses to start without a process group
        )
    wrapped = DistributedDataParallel(
        model,
        process_group=gang.group,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=leaves_some,
    )
    if in_rank_order:
        wrapped.register_comm_hook(gang.group, sum_in_rank_order)
    return wrapped


def sum_in_rank_order(group: Any, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Gather every rank's gradients and add them in the order of ranks, as accumulation does.

    Every rank receives and holds the gradients of all.
    """
    own = bucket.buffer()
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]

    def add(done: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
        done.value()  # raises what the collective raised
        return reduce(torch.Tensor.add_, parts)

    # Gathered and added here, since an all-reduce adds in an order of its own.
    gathered = dist.all_gather(parts, own, group=group, async_op=True)
    return gathered.get_future().then(add)


def share_norms(model: nn.Module, gang: Gang) -> nn.Module:
    """Let batch normalisation take its statistics over all ranks' images (GPUs only).

    ValueError for a layer that isn't torch's or timm's own: what it does beside would be lost. It
    wasn't run on a machine with GPUs.
    """
    # By timm's converter, which keeps the activation that timm's own layers hold: torch's drops it.
    from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm

    if gang.size == 1:
        return model
    known = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d, nn.SyncBatchNorm)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and type(module) not in known:
            raise ValueError(
                f"--sync-batchnorm: {name} is a {type(module).__name__}, which torch can't share; "
                "leave it out"
            )
    converted: nn.Module = convert_sync_batchnorm(model, gang.group)  # type: ignore[no-untyped-call]
    return converted


def share_buffers(model: nn.Module, gang: Gang) -> None:
    """Give every rank the first one's running statistics, as DDP would at each forward pass."""
    for buffer in model.buffers():
        gang.broadcast_tensor(buffer)


def clip_gradients(model: nn.Module, limit: float, gang: Gang) -> None:
    """Scale the gradients so that the whole model's norm, not a part's, is at most `limit`."""
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    if gang.rank > 0:
        # What every rank holds counts once, on the first.
        gradients = {n: own for n, own in gradients.items() if not _is_shared(model, n)}
    norm = nn.utils.get_total_norm(gradients.values())
    # The root of one norm's square may differ from it in the last bit.
    if gang.size > 1:
        norm = torch.stack(gang.gather_tensors(norm)).norm()
    nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)


def _is_shared(model: nn.Module, parameter: str) -> bool:
    """Return whether every rank holds the same of a parameter: all of a model without parts is."""
    return model.is_shared(parameter) if isinstance(model, ModelPart) else True


def whole_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's weights under its own names, put together from its parts.

    A collective call.
    """
    return model.whole_state() if isinstance(model, ModelPart) else model.state_dict()
