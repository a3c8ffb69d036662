"""Batches of 1, 2, 4, … images until more of them are no faster, or don't fit."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.measure.visit import Subject
from bench.results.metric import METRICS
from bench.results.record import Measurement

GAIN = 1.02  # a doubling that brings less is none
PASSES = 3  # at a size: the first one makes room for it, the faster of the others counts
PATIENCE = 2  # doublings without gain
MOST = 4096
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
    attempt: Callable[[int], Outcome], *, most: int, least: int = 1, gather: Callable[[Outcome], list[Outcome]]
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


def guarded(action: Callable[[int], float], bytes_an_image: float, runtime: Runtime) -> Callable[[int], Outcome]:
    """Make an attempt of an action: out of memory is an outcome, and what can't fit isn't tried.

    A CPU's allocator is given more than there is and the process is killed later, so there the bytes are worked out.
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


def sweep(subject: Subject, runtime: Runtime, *, seconds: float, bytes_an_image: float, seed: int) -> Climb:
    """Time forward passes at growing batches, then all sizes again in drawn orders until `seconds` are over."""
    start, model = time.perf_counter(), subject.learner.bare.eval()

    def forward(size: int) -> float:
        images = _images(subject, max(1, size // runtime.data_size))
        took = []
        for _ in range(PASSES):
            runtime.synchronize()
            begun = time.perf_counter()
            with torch.inference_mode(), runtime.accelerator.autocast():
                model(images)
            runtime.synchronize()
            took.append(time.perf_counter() - begun)
        return min(took[1:])

    fits = guarded(forward, bytes_an_image, runtime)
    last = 0.0

    def attempt(size: int) -> Outcome:
        nonlocal last
        if last and time.perf_counter() - start + 2 * PASSES * last > seconds:
            return f"no time for {size}"
        outcome = fits(size)
        last = outcome if isinstance(outcome, float) else 0.0
        return outcome

    found = climb(attempt, most=MOST, least=runtime.data_size, gather=runtime.gather)
    draw = random.Random(seed)
    while found.seconds and runtime.broadcast(time.perf_counter() - start) < seconds:
        runtime.check_signal()
        for size in draw.sample(list(found.seconds), len(found.seconds)):
            found.seconds[size].append(max(runtime.gather(forward(size))))
    return found


def _images(subject: Subject, number: int) -> torch.Tensor:
    """That many images: those of the subject's batch, over and over."""
    images = subject.batch.images
    rows = torch.arange(number, device=images.device) % len(images)
    kind = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return images[rows].contiguous(memory_format=kind)


def measurements(seconds: Mapping[int, list[float]]) -> tuple[Measurement, ...]:
    """A sweep's sizes as measurements; the ranks were merged when the sizes were agreed on."""
    kind = METRICS["sweep_images_per_second"]
    return tuple(
        Measurement(
            metric="sweep_images_per_second", unit=kind.unit, better=kind.better, merge=kind.merge,
            values=(tuple(values),), images=size, part="sweep",
        )
        for size, values in seconds.items()
    )  # fmt: skip
