"""How gradients and statistics go between the processes of the data axis. Imported by `runtime.py` alone."""

from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel


def data_parallel(model: nn.Module, group: Any, *, in_rank_order: bool) -> nn.Module:
    """Make a model join its gradients over a group of processes at each backward pass: their mean.

    With `in_rank_order` it is their sum, added one rank after another: the same to the bit in any world that splits a
    step into the same micro-batches. Buffers stay local.
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
    """Let batch normalisation take its statistics over all processes of a group. GPUs only; it wasn't run on one."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model, group)  # type: ignore[no-untyped-call]
    return converted
