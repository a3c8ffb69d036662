"""`--batch-size best`: the power of two at which a model trains the most images a second, within memory."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.data.loader import Batch
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.sweep import Climb, climb, guarded
from bench.train.build import RunContext, build_model
from bench.train.trainer import Learner, build_learner
from zoo.cost import layer_costs
from zoo.spec import ModelSpec

MOST = 4096
LEAST_STEPS = 10  # of an epoch: a batch that leaves fewer isn't tried
TIMED_STEPS = 3


def at_batch(batch_size: int, context: RunContext) -> RunContext:
    """The bench with another batch, for the cells of one model."""
    return replace(context, config=replace(context.config, batch_size=batch_size))


def at_best_batch(spec: ModelSpec, context: RunContext, record: RunRecord) -> tuple[RunContext, dict[str, Any]]:
    """The bench with this model's best batch, and what its record says of it then."""
    search = _search(spec, record.seed, context, record.data.image_size)
    size = int(search["best"])
    changes = {"batch_size": size, "batch_search": search, "config": record.config | {"batch_size": size}}
    return at_batch(size, context), changes


def _search(spec: ModelSpec, seed: int, context: RunContext, image_size: int) -> dict[str, Any]:
    """Find a model's best batch and say so, once a model: `best`, `images_per_second` by batch, and why it `ended`."""
    before = context.runtime.on_main(_found_before, context.folder, spec.name)
    if before:
        return before
    model = build_model(spec, seed, context)
    layers = layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    model = context.runtime.place(model, spec.parallelise)
    learner = build_learner(model, config=context.config, peak=1e-6, seed=seed, runtime=context.runtime)
    found = best_batch(
        learner, shape=(spec.in_channels, image_size, image_size), num_train=len(context.data.train_indices),
        bytes_an_image=2 * sum(layer.activation_bytes for layer in layers),
    )  # fmt: skip
    rates = {str(size): size / min(seconds) for size, seconds in found.seconds.items()}
    context.runtime.say(f"    best batch {found.best}: {rates[str(found.best)]:,.0f} images/s ({found.ended})")
    return {"best": found.best, "images_per_second": rates, "ended": found.ended}


def _found_before(folder: Path, model: str) -> dict[str, Any]:
    """What was found for another seed of the model, or before an interruption."""
    records = (read(path, RunRecord) for path in sorted((folder / "cells").glob("*/record.json")))
    return next((dict(r.batch_search) for r in records if r.model == model and r.batch_search), {})


def best_batch(learner: Learner, *, shape: tuple[int, int, int], num_train: int, bytes_an_image: float) -> Climb:
    """Train on noise of `shape` at growing batches of the world; ValueError if none fits.

    The learner is of no use afterwards: build another one.
    """
    runtime, config = learner.runtime, learner.config
    share = runtime.data_size * config.accumulate

    def train(size: int) -> float:
        batch = _noise(learner, size // runtime.data_size, shape)
        took = []
        for step in range(TIMED_STEPS):
            runtime.synchronize()
            start = time.perf_counter()
            learner.step(batch, step=step, rate=1e-6)
            runtime.synchronize()
            took.append(time.perf_counter() - start)
        return min(took[1:])

    found = climb(
        guarded(train, bytes_an_image, runtime), least=share, most=min(MOST, num_train // LEAST_STEPS),
        gather=runtime.gather,
    )  # fmt: skip
    if not found.seconds:
        raise ValueError(f"--batch-size best: not even {share} images fit ({found.ended})")
    return found


def _noise(learner: Learner, number: int, shape: tuple[int, int, int]) -> Batch:
    kind = torch.channels_last if learner.config.channels_last else torch.contiguous_format
    images = torch.rand(number, *shape, device=learner.runtime.device).contiguous(memory_format=kind)
    return Batch(images, torch.zeros(number, dtype=torch.long, device=learner.runtime.device))
