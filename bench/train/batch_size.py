"""`--batch-size best`: the power of two at which a model trains the most images a second."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import psutil
import torch

from bench.data.loader import open_pixels
from bench.distributed.runtime import Runtime
from bench.results.record import RunRecord
from bench.results.step_memory import estimate_step_memory
from bench.train.build import RunContext, build_model, prepare_learner
from bench.train.step import TRIAL_RATE, make_noise_batch, read_earlier_trial, time_action
from bench.train.trainer import Learner
from zoo.cost import count_parameters, try_layer_costs
from zoo.spec import ModelSpec

MAX_BATCH_SIZE = 4096
LEAST_STEPS = 10  # of an epoch: a batch that leaves fewer isn't tried
TIMED_STEPS = 3  # at a size: the first one makes room for it, the faster of the others counts
LEAST_GAIN = 1.02  # times as many images a second: a doubling that brings less is none
PATIENCE = 2  # doublings without gain
CPU_REFUSAL = "can't allocate memory"  # what torch's allocator for the CPU says
Outcome = float | str  # seconds, or why there are none


@dataclass
class BatchTimes:
    """Seconds by batch size, and why no larger one was tried."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    ended: str = ""

    @property
    def best_size(self) -> int:
        """Return the size with the most images a second."""
        return max(self.seconds, key=lambda size: size / min(self.seconds[size]))


def time_growing_batches(
    attempt: Callable[[int], Outcome],
    *,
    most: int,
    least: int = 1,
    gather: Callable[[Outcome], list[Outcome]],
) -> BatchTimes:
    """Double the batch size from `least` on, for as long as that is faster.

    `attempt` returns the seconds of a size, or why it can't be had. Sizes are those of all ranks
    together; `gather` returns what every rank met, and the slowest counts.
    """
    times = BatchTimes()
    most_images_per_second = 0.0
    num_without_gain = 0
    size = least
    while size <= most:
        outcomes = gather(attempt(size))
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            times.ended = causes[0]
            return times
        slowest = max(float(outcome) for outcome in outcomes)
        times.seconds[size] = [slowest]
        images_per_second = size / slowest
        if images_per_second > LEAST_GAIN * most_images_per_second:
            num_without_gain = 0
        else:
            num_without_gain += 1
        most_images_per_second = max(most_images_per_second, images_per_second)
        if num_without_gain == PATIENCE:
            times.ended = f"no faster at {size}"
            return times
        size *= 2
    times.ended = f"{most} is the most that is tried"
    return times


def attempt_within_memory(
    action: Callable[[int], float], bytes_an_image: float, runtime: Runtime
) -> Callable[[int], Outcome]:
    """Make an attempt of an action on so many images: out of memory is an outcome of it."""

    def attempt(size: int) -> Outcome:
        # A CPU's allocator promises more than there is, and the process is killed when it uses it:
        # there the bytes are estimated before. Half is left to whatever else runs.
        needed = size // runtime.data_size * bytes_an_image
        room = psutil.virtual_memory().available / 2 / runtime.world.local_size
        if runtime.device.type == "cpu" and needed > room:
            return f"out of memory at {size}: {needed / 2**20:,.0f} MiB of {room / 2**20:,.0f} MiB"
        try:
            return action(size)
        except (torch.OutOfMemoryError, MemoryError):
            return f"out of memory at {size}"
        except RuntimeError as error:
            # torch has no error of its own for a CPU that is out of memory.
            if CPU_REFUSAL not in str(error):
                raise
            return f"out of memory at {size}"

    return attempt


def with_batch_size(batch_size: int, context: RunContext) -> RunContext:
    """Return the context with another batch size, for the cells of one model."""
    return replace(context, config=replace(context.config, batch_size=batch_size))


def with_best_batch_size(
    spec: ModelSpec, context: RunContext, record: RunRecord
) -> tuple[RunContext, dict[str, Any]]:
    """Return the context with this model's best batch size, and what its record says of it then.

    Each model is searched once: other seeds, and a resume, take what a record says. ValueError if
    no batch fits.
    """
    runtime = context.runtime
    search = runtime.on_main(read_earlier_trial, context.folder, spec.name, "batch_search")
    if search is None:
        search = _search_batch_size(spec, context, record)
    size = int(search["best"])
    changes = {
        "batch_size": size,
        "batch_search": search,
        "config": record.config | {"batch_size": size},
    }
    return with_batch_size(size, context), changes


def _search_batch_size(spec: ModelSpec, context: RunContext, record: RunRecord) -> dict[str, Any]:
    """Find a model's best batch size and say so.

    Returns `best`, `images_per_second` by size, and why the search `ended`.
    """
    config, runtime = context.config, context.runtime
    image_size = record.data.image_size
    model = build_model(spec, record.seed, context)
    layers = try_layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    memory_of_one = estimate_step_memory(
        num_parameters=count_parameters(model),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        optimizer=config.optimizer,
        momentum=config.momentum,
    )
    learner = prepare_learner(
        model,
        spec,
        config=config,
        peak=TRIAL_RATE,
        seed=record.seed,
        runtime=runtime,
        sizes_vary=True,
    )
    # Held as in training: on a GPU the set takes memory that a batch can't have.
    pixels = open_pixels(context.data.train, context.data.size, runtime.device, often=True)
    times = find_best_batch_size(
        learner,
        shape=(spec.in_channels, image_size, image_size),
        num_train=len(context.data.train_indices),
        bytes_an_image=memory_of_one.batch_bytes,
    )
    del pixels
    rates = {str(size): size / min(seconds) for size, seconds in times.seconds.items()}
    best_size = times.best_size
    best_rate = rates[str(best_size)]
    runtime.say(f"    best batch {best_size}: {best_rate:,.0f} images/s ({times.ended})")
    return {"best": best_size, "images_per_second": rates, "ended": times.ended}


def find_best_batch_size(
    learner: Learner, *, shape: tuple[int, int, int], num_train: int, bytes_an_image: float
) -> BatchTimes:
    """Train on noise of `shape` (channels, height, width) at growing batches of all ranks.

    The learner is of no use afterwards: build another one. ValueError if no batch fits.
    """
    runtime, config = learner.runtime, learner.config

    def time_steps(size: int) -> float:
        num_images = size // runtime.data_size
        batch = make_noise_batch(num_images, shape, config=config, device=runtime.device)
        seconds = []
        for step in range(TIMED_STEPS):
            take_step = partial(learner.step, batch, step=step, rate=TRIAL_RATE)
            seconds.append(time_action(take_step, runtime))
        return min(seconds[1:])

    least = learner.num_parts  # an image for every micro-batch
    times = time_growing_batches(
        attempt_within_memory(time_steps, bytes_an_image, runtime),
        least=least,
        most=min(MAX_BATCH_SIZE, num_train // LEAST_STEPS),
        gather=runtime.gather,
    )
    if not times.seconds:
        raise ValueError(f"--batch-size best: not even {least} images fit ({times.ended})")
    return times
