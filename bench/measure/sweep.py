"""Inference at growing batches."""

import random
import time
from collections.abc import Mapping

import torch

from bench.distributed.runtime import Runtime
from bench.measure.subject import Subject
from bench.measure.visit import forward_pass
from bench.results.metric import SWEEP
from bench.results.record import Measurement, make_measurement
from bench.train.batch_size import (
    MAX_BATCH_SIZE,
    BatchTimes,
    Outcome,
    attempt_within_memory,
    time_growing_batches,
)
from bench.train.step import time_action

COMPILED_SIZES = (1, 2, 4)
REPEATS = 3  # at a size: the first one makes room for it, the faster of the others counts


def time_inference(
    subject: Subject, runtime: Runtime, *, seconds: float, bytes_an_image: float, seed: int
) -> BatchTimes:
    """Time forward passes at growing batches, then all sizes again until `seconds` are over.

    The latter in an order drawn afresh each time, so that drift becomes no trend over the sizes.
    """
    model = subject.make_scorer(sizes_vary=True)

    def time_forward(size: int) -> float:
        images = _repeat_images(subject, max(1, size // runtime.data_size))
        forward = forward_pass(model, images, runtime)
        with subject.answering():
            took = [time_action(forward, runtime) for _ in range(REPEATS)]
        return min(took[1:])

    if subject.config.compile:
        # What compiling takes is no time of inference: for one image, two, and then any number.
        for size in COMPILED_SIZES:
            time_forward(size * runtime.data_size)
    start = time.perf_counter()
    attempt_size = attempt_within_memory(time_forward, bytes_an_image, runtime)
    last = 0.0

    def attempt_in_time(size: int) -> Outcome:
        nonlocal last
        # A size twice as large takes about twice as long.
        needed = 2 * REPEATS * last
        if last and time.perf_counter() - start + needed > seconds:
            return f"no time for {size}"
        outcome = attempt_size(size)
        last = outcome if isinstance(outcome, float) else 0.0
        return outcome

    times = time_growing_batches(
        attempt_in_time, most=MAX_BATCH_SIZE, least=runtime.data_size, gather=runtime.gather
    )
    draw = random.Random(seed)
    while times.seconds and runtime.broadcast(time.perf_counter() - start) < seconds:
        runtime.check_signal()
        for size in draw.sample(list(times.seconds), len(times.seconds)):
            times.seconds[size].append(max(runtime.gather(time_forward(size))))
    return times


def _repeat_images(subject: Subject, number: int) -> torch.Tensor:
    """Return that many images (number, C, H, W): those of the subject's batch, over and over."""
    images = subject.batch.images
    rows = torch.arange(number, device=images.device) % len(images)
    # Indexing keeps no memory format, and the model was built for the batch's.
    if images.is_contiguous(memory_format=torch.channels_last):
        return images[rows].contiguous(memory_format=torch.channels_last)
    return images[rows].contiguous()


def sweep_measurements(
    seconds: Mapping[int, list[float]], disturbed: float = 0.0
) -> tuple[Measurement, ...]:
    """Return a measurement a batch size; the ranks were merged when the sizes were agreed on.

    `disturbed` is how many cores others took meanwhile, where it is enough to count.
    """
    return tuple(
        make_measurement(
            "sweep_images_per_second",
            [values],
            images=size,
            part=SWEEP.name,
            disturbed=disturbed,
        )
        for size, values in seconds.items()
    )
