"""How a process enters its world: it meets the others and starts accelerate. Imported by `runtime.py` alone."""

import datetime
import os

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from bench.distributed.process import World, abandon
from bench.distributed.roll_call import Roll, WorldBroken
from bench.request.config import RunConfig


def meet(world: World, timeout: float) -> Roll | None:
    """Wait for the other ranks where a launcher keeps a store: by the time that they join, none is late.

    Where rank 0 keeps it there is none yet.
    """
    if world.size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        roll = Roll(world, timeout)
        roll.meet()
    except WorldBroken as broken:
        abandon(str(broken), how="are all machines started?", aloud=broken.speaks)
    return roll


def join(config: RunConfig) -> Accelerator:
    """Start accelerate with every setting stated; without GPUs torchrun's ranks need to be told of the CPU."""
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    patience = InitProcessGroupKwargs(timeout=datetime.timedelta(seconds=config.timeout))
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[patience],
        device_placement=False,
        log_with=list(config.track) or None,
        project_dir=str(config.out),
    )


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device hasn't, with those that it has."""
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("--precision fp16: this device has no fp16 training; choose fp32 or bf16")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("--precision bf16: this GPU has no bf16; choose fp32 or fp16")
