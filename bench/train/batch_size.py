"""`--batch-size best`.

The power of two at which a model trains the most images a second, within memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.results.record import RunRecord
from bench.results.step_memory import estimate_step_memory
from bench.results.storage import read
from bench.train.build import RunContext, build_model, prepare_learner
from bench.train.step import noise_batch, time_action
from bench.train.trainer import Learner
from zoo.cost import count_parameters, layer_costs
from zoo.spec import ModelSpec

MOST = 4096
LEAST_STEPS = 10  # of an epoch: a batch that leaves fewer isn't tried
TIMED_STEPS = 3
GAIN = 1.02  # a doubling that brings less is none
PATIENCE = 2  # doublings without gain
Outcome = float | str  # seconds, or why there are none
NO_MEMORY = "can't allocate memory"  # what torch's allocator for the CPU says


@dataclass
class Climb:
    """Seconds by size of the batch, and why the next size was not tried."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    ended: str = ""

    @property
    def best(self) -> int:
        """The size with the most images a second."""
        return max(self.seconds, key=lambda size: size / min(self.seconds[size]))


def climb(
    attempt: Callable[[int], Outcome],
    *,
    most: int,
    least: int = 1,
    gather: Callable[[Outcome], list[Outcome]],
) -> Climb:
    """Double a batch from `least` on while that is faster; `attempt` gives the seconds of a size, or why it can't be.

    The sizes are the world's; `gather` gives what every rank met, and the slowest counts.
    """
    found, size, best, idle = Climb(), least, 0.0, 0
    while size <= most:
        outcomes = gather(attempt(size))
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            found.ended = causes[0]
            return found
        slowest = max(float(outcome) for outcome in outcomes)
        found.seconds[size] = [slowest]
        idle = 0 if size / slowest > GAIN * best else idle + 1
        best = max(best, size / slowest)
        if idle == PATIENCE:
            found.ended = f"no faster at {size}"
            return found
        size *= 2
    found.ended = f"{most} is the most that is tried"
    return found


def guarded(
    action: Callable[[int], float], bytes_an_image: float, runtime: Runtime
) -> Callable[[int], Outcome]:
    """Make an attempt of an action: out of memory is an outcome, and what can't fit isn't tried.

    A CPU's allocator is given more than there is and the process is killed later, so there the
    bytes are worked out.
    """

    def attempt(size: int) -> Outcome:
        needed = size // runtime.data_size * bytes_an_image
        room = psutil.virtual_memory().available / 2 / runtime.world.local_size
        if runtime.device.type == "cpu" and needed > room:
            return f"out of memory at {size}: {needed / 2**20:,.0f} MiB of {room / 2**20:,.0f} MiB"
        try:
            return action(size)
        except (torch.OutOfMemoryError, MemoryError):
            return f"out of memory at {size}"
        except RuntimeError as error:
            if NO_MEMORY not in str(error):
                raise
            return f"out of memory at {size}"

    return attempt


def at_batch(batch_size: int, context: RunContext) -> RunContext:
    """The bench with another batch, for the cells of one model."""
    return replace(context, config=replace(context.config, batch_size=batch_size))


def at_best_batch(
    spec: ModelSpec, context: RunContext, record: RunRecord
) -> tuple[RunContext, dict[str, Any]]:
    """The bench with this model's best batch, and what its record says of it then."""
    search = _search(spec, record.seed, context, record.data.image_size)
    size = int(search["best"])
    changes = {
        "batch_size": size,
        "batch_search": search,
        "config": record.config | {"batch_size": size},
    }
    return at_batch(size, context), changes


def _search(spec: ModelSpec, seed: int, context: RunContext, image_size: int) -> dict[str, Any]:
    """Find a model's best batch and say so, once a model.

    `best`, `images_per_second` by batch, and why it `ended`.
    """
    before = context.runtime.on_main(_found_before, context.folder, spec.name)
    if before:
        return before
    model = build_model(spec, seed, context)
    layers = layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    memory = estimate_step_memory(
        num_parameters=count_parameters(model),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        optimizer=context.config.optimizer,
        momentum=context.config.momentum,
    )
    learner = prepare_learner(
        model, spec, config=context.config, peak=1e-6, seed=seed, runtime=context.runtime
    )
    found = best_batch(
        learner,
        shape=(spec.in_channels, image_size, image_size),
        num_train=len(context.data.train_indices),
        bytes_an_image=memory.batch_bytes,
    )
    rates = {str(size): size / min(seconds) for size, seconds in found.seconds.items()}
    context.runtime.say(
        f"    best batch {found.best}: {rates[str(found.best)]:,.0f} images/s ({found.ended})"
    )
    return {"best": found.best, "images_per_second": rates, "ended": found.ended}


def _found_before(folder: Path, model: str) -> dict[str, Any]:
    """What was found for another seed of the model, or before an interruption."""
    records = (read(path, RunRecord) for path in sorted((folder / "cells").glob("*/record.json")))
    return next((dict(r.batch_search) for r in records if r.model == model and r.batch_search), {})


def best_batch(
    learner: Learner, *, shape: tuple[int, int, int], num_train: int, bytes_an_image: float
) -> Climb:
    """Train on noise of `shape` at growing batches of the world; ValueError if none fits.

    The learner is of no use afterwards: build another one.
    """
    runtime, config = learner.runtime, learner.config
    share = runtime.data_size * config.accumulate

    def train(size: int) -> float:
        num_images = size // runtime.data_size
        batch = noise_batch(num_images, shape, config=config, device=runtime.device)
        took = [
            time_action(partial(learner.step, batch, step=step, rate=1e-6), runtime)
            for step in range(TIMED_STEPS)
        ]
        return min(took[1:])

    found = climb(
        guarded(train, bytes_an_image, runtime),
        least=share,
        most=min(MOST, num_train // LEAST_STEPS),
        gather=runtime.gather,
    )
    if not found.seconds:
        raise ValueError(f"--batch-size best: not even {share} images fit ({found.ended})")
    return found
