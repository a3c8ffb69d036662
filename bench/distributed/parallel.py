"""The two axes of a world, and how gradients and statistics go along them.

Imported by `runtime.py` alone.
"""

import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel


def data_parallel(model: nn.Module, group: Any, *, in_rank_order: bool) -> nn.Module:
    """Make a model join its gradients over a group of processes at each backward pass: their mean.

    With `in_rank_order` it is their sum, added one rank after another: the same to the bit in any
    world that splits a step into the same micro-batches. Buffers stay local.
    """
    wrapped = DistributedDataParallel(
        model, process_group=group, forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    if in_rank_order:
        wrapped.register_comm_hook(group, sum_in_rank_order)
    return wrapped


def sum_in_rank_order(group: Any, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Gather every rank's gradients and add them as accumulation does: the first, plus the second, and so on.

    Every rank receives and holds the gradients of all.
    """
    own = bucket.buffer()
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]

    def add(done: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
        done.value()  # raises what the collective raised
        return reduce(torch.Tensor.add_, parts)

    gathered = dist.all_gather(parts, own, group=group, async_op=True)
    return gathered.get_future().then(add)


def synchronised_norms(model: nn.Module, group: Any) -> nn.Module:
    """Let batch normalisation take its statistics over all processes of a group.

    GPUs only; it wasn't run on one.
    """
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model, group)  # type: ignore[no-untyped-call]
    return converted


def find_axes(rank: int, size: int, *, model_size: int, device: torch.device) -> dict[str, Any]:
    """This process's place on the two axes, and its groups.

    The ranks that share a model are neighbours.
    """
    if model_size == 1:
        return {"data_rank": rank, "data_size": size}
    shape = (size // model_size, model_size)
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("data", "model"))
    return {
        "data_rank": rank // model_size,
        "data_size": size // model_size,
        "data_group": mesh.get_group("data"),
        "model_rank": rank % model_size,
        "model_size": model_size,
        "model_group": mesh.get_group("model"),
    }


def function_of(way: str) -> Callable[..., nn.Module]:
    """Import the function `MODULE:FUNCTION` that turns a model into its shared form."""
    module, _, name = way.partition(":")
    return cast(Callable[..., nn.Module], getattr(importlib.import_module(module), name))


def clip_parts(model: nn.Module, limit: float, *, group: Any, rank: int, size: int) -> None:
    """Scale this rank's gradients so that the norm of the whole model's, over the group, is at most `limit`."""
    is_shared = getattr(
        model, "is_shared", lambda name: True
    )  # a model that isn't in parts is all the same to all
    counted = [
        p.grad
        for name, p in model.named_parameters()
        if p.grad is not None and not (rank and is_shared(name))
    ]
    norm = nn.utils.get_total_norm(counted)
    norms = [torch.empty_like(norm) for _ in range(size)]
    dist.all_gather(norms, norm, group=group)
    nn.utils.clip_grads_with_norm_(model.parameters(), limit, torch.stack(norms).norm())
