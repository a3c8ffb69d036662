"""Settings that a device may refuse or decide: precision, whose kernels, memory format."""

import torch

from bench.distributed.hardware import EMULATED, find_bf16_unit
from bench.request.config import FAST, TORCH, RunConfig
from bench.results.memory_format import WHERE_FASTER
from bench.results.metric import TRAIN


def check_precision(precision: str, device: torch.device, *, allow_emulated: bool = False) -> None:
    """Refuse a precision that the device hasn't, with those that it has.

    bf16 by other instructions is far slower than fp32, so it takes `allow_emulated`.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("--precision fp16: this device has no fp16 training; choose fp32 or bf16")
    if precision != "bf16":
        return
    if device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=allow_emulated):
            raise ValueError(
                "--precision bf16: this GPU has no bf16 and would emulate it; choose fp32 or fp16, "
                "or give --allow-emulated"
            )
    elif not allow_emulated and find_bf16_unit() == EMULATED:
        raise ValueError(
            "--precision bf16: this processor, or ONEDNN_MAX_CPU_ISA, has neither AVX512-BF16 nor "
            "AMX, and would emulate bf16 hundreds of times slower than fp32; choose fp32, "
            "or give --allow-emulated"
        )


def choose_kernels(asked: str | None, device: torch.device) -> tuple[str, str]:
    """Return whose convolutions training has and whose inference has: each fast or torch.

    Training is what is waited for; inference is measured as people deploy it.
    """
    if device.type == "cpu":
        return asked or FAST, asked or TORCH
    if asked == FAST:
        raise ValueError("--kernels fast: there is nothing to do on a GPU; leave it out")
    return TORCH, TORCH


def choose_format(config: RunConfig, device: torch.device) -> bool | str:
    """Return whether all models have channels-last, or `where faster`: each by steps of its own.

    On a GPU they have, since tensor cores are made for it. So they have where no step is taken, and
    where a trial would cost more than it brings: compiling both forms takes minutes, and features
    of frozen layers are kept for other runs by their format.
    """
    if config.channels_last is not None:
        return config.channels_last
    takes_steps = config.epochs != 0 or TRAIN.name in config.measure
    costs_more = config.compile or config.fits_head
    return WHERE_FASTER if device.type == "cpu" and takes_steps and not costs_more else True
