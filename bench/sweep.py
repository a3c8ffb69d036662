"""Batches of 1, 2, 4, … images until more of them are no faster, or don't fit."""

import random
import time
from collections.abc import Mapping

import torch

from bench.distributed.runtime import Runtime
from bench.measure.visit import Subject
from bench.results.metric import METRICS
from bench.results.record import Measurement
from bench.train.batch_size import MOST, Climb, Outcome, climb, guarded

REPEATS = 3  # at a size: the first one makes room for it, the faster of the others counts


def sweep(subject: Subject, runtime: Runtime, *, seconds: float, bytes_an_image: float, seed: int) -> Climb:
    """Time forward passes at growing batches, then all sizes again in drawn orders until `seconds` are over."""
    start, model = time.perf_counter(), subject.learner.bare.eval()

    def forward(size: int) -> float:
        images = _images(subject, max(1, size // runtime.data_size))
        took = []
        for _ in range(REPEATS):
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
        if last and time.perf_counter() - start + 2 * REPEATS * last > seconds:
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
