"""Which models fit into memory together, so that they can take turns: groups that share their first model."""

from collections.abc import Mapping
from typing import NamedTuple

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.record import RunRecord

COPIES = 4  # of the weights, at most: themselves, gradients and two of the optimiser's
ROOM = 0.7  # of the memory that is free


class Need(NamedTuple):
    """Bytes: what a model keeps between its visits, what it needs more during a step, and for an image forward."""

    kept: float
    step: float
    forward: float


def need_of(record: RunRecord, config: RunConfig, runtime: Runtime) -> Need:
    """Work out from a model's layers what it needs on one rank."""
    outputs = [layer.activation_bytes for layer in record.layers]
    images = record.batch_size / runtime.data_size / config.accumulate
    weights = 4 * (record.num_local_parameters or record.num_parameters or 0)
    return Need(COPIES * weights, 2 * images * sum(outputs), 3 * max(outputs, default=0))


def room_for(runtime: Runtime) -> float:
    """Bytes that a rank may use; the least of all ranks."""
    if runtime.device.type == "cuda":
        own = float(torch.cuda.mem_get_info(runtime.device)[0])
    else:
        own = psutil.virtual_memory().available / runtime.world.local_size
    return ROOM * min(runtime.gather(own))


def fit_together(needs: Mapping[str, Need], room: float) -> list[tuple[str, ...]]:
    """Groups of models in their order, each with the first model of all; one that fits nowhere is with it alone."""
    reference, *others = needs
    # The reference is there twice, as its own opponent; only one model takes a step at a time.
    base = 2 * needs[reference].kept
    groups: list[list[str]] = [[reference]]
    kept, step = base, needs[reference].step
    for model in others:
        need = needs[model]
        if len(groups[-1]) > 1 and kept + need.kept + max(step, need.step) > room:
            groups.append([reference])
            kept, step = base, needs[reference].step
        groups[-1].append(model)
        kept, step = kept + need.kept, max(step, need.step)
    return [tuple(group) for group in groups]
