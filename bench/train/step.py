"""Training steps for a trial: images of noise, a tiny network, and how long an action took.

What a trial found is kept in a record, and holds for all cells of its model.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from bench.data.loader import Batch
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.record import RunRecord
from bench.results.storage import read

TRIAL_RATE = 1e-6  # learning rate of trial steps: too small for weights to run away
NUM_TRIED = 2  # images: batch normalisation asks for more than one


def make_noise_batch(
    num_images: int, shape: tuple[int, int, int], *, config: RunConfig, device: torch.device
) -> Batch:
    """Make images of noise, (num_images, *shape) float32, all labelled 0.

    Neither speed nor memory depends on what is in the images.
    """
    memory_format = torch.channels_last if config.uses_channels_last else torch.contiguous_format
    images = torch.rand(num_images, *shape, device=device).contiguous(memory_format=memory_format)
    return Batch(images, torch.zeros(num_images, dtype=torch.long, device=device))


def reaches_all(
    model: nn.Module, shape: tuple[int, int, int], *, config: RunConfig, device: torch.device
) -> bool:
    """Return whether a training pass gives every parameter a gradient.

    It is tried on noise of `shape`; weights, gradients and statistics stay as they are.
    """
    aside = {name: one.detach() for name, one in model.named_parameters()}
    for name, parameter in model.named_parameters():
        aside[name].requires_grad_(parameter.requires_grad)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch = make_noise_batch(NUM_TRIED, shape, config=config, device=device)
    model.train()
    functional_call(model, aside | buffers, batch.images).sum().backward()
    return all(one.grad is not None for one in aside.values() if one.requires_grad)


def build_tiny_network() -> nn.Module:
    """Build a network whose training step costs nothing but what torch loads late."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def time_action(action: Callable[[], object], runtime: Runtime) -> float:
    """Return the seconds that an action takes, until the device has done all of it."""
    # Work that was given to the device before is waited for first, so as not to be counted.
    runtime.synchronize()
    start = time.perf_counter()
    action()
    runtime.synchronize()
    return time.perf_counter() - start


def read_earlier_trial(folder: Path, model: str, field: str) -> Any:
    """Return what a record of a run's model holds of a trial under this field; None without one."""
    for path in sorted((folder / "cells").glob("*/record.json")):
        record = read(path, RunRecord)
        if record.model == model and getattr(record, field):
            return getattr(record, field)
    return None
