"""How a model is visited: what a visit times. What each metric is stands in metric.py."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from bench.data.loader import Batch
from bench.distributed.runtime import Runtime
from bench.measure.turns import Visit
from bench.request.config import RunConfig
from bench.results.record import Measurement, make_measurement
from bench.train.batch_size import (
    MAX_BATCH_SIZE,
    BatchTimes,
    Outcome,
    attempt_within_memory,
    time_growing_batches,
)
from bench.train.build import build_learner
from bench.train.step import build_tiny_network, noise_batch, time_action
from bench.train.trainer import Batches, Learner

GRAIN = 8  # steps between two waits for a GPU, which would otherwise be timed as much as the steps
SETTLED = 0.1  # seconds of a step beside which cold caches are nothing


@dataclass
class Subject:
    """A model held ready to be measured, with batches of its own and one batch that is already there."""

    model: str
    learner: Learner
    batches: Iterator[Batch]
    batch: Batch
    steps: int = 0
    step_seconds: float = 0.0

    def step(self, batch: Batch) -> None:
        """Take a training step too small to change anything."""
        self.steps += 1
        self.learner.step(batch, step=self.steps, rate=1e-4)

    @property
    def bytes_sent(self) -> int | None:
        """The bytes that this rank has sent to those it shares the model with.

        None where it has the model alone.
        """
        return getattr(self.learner.bare, "bytes_sent", None)

    def exchanged(self, steps: int, sent: int | None) -> dict[str, float]:
        """The bytes sent a step since there were `steps` of them and `sent` bytes."""
        now = self.bytes_sent
        return (
            {}
            if now is None or sent is None
            else {"exchanged_bytes": (now - sent) / (self.steps - steps)}
        )


def build_subject(model: str, learner: Learner, batches: Batches) -> Subject:
    """Hold a model ready; its loader goes round and round."""
    endless = _endless(batches)
    return Subject(model, learner, endless, next(endless))


def wake(runtime: Runtime, config: RunConfig) -> None:
    """Train a tiny network for a step, so that what torch loads late is in no model's first step."""
    config = replace(config, compile=False)
    tiny = build_tiny_network().to(runtime.device)
    learner = build_learner(tiny, config=config, peak=1e-4, seed=0, runtime=runtime)
    batch = noise_batch(config.accumulate, (3, 8, 8), config=config, device=runtime.device)
    learner.step(batch, step=0, rate=1e-4)


def first_step(build: Callable[[], Subject], runtime: Runtime) -> tuple[Subject, float, float]:
    """Build a subject and take two steps: (subject, seconds until the first one has ended, by how much it was longer).

    The latter is what compiling takes, where the model is compiled.
    """
    start = time.perf_counter()
    subject = build()
    built = time.perf_counter()
    subject.step(subject.batch)
    runtime.synchronize()
    done = time.perf_counter()
    second = time_action(lambda: subject.step(subject.batch), runtime)
    return subject, done - start, max(0.0, done - built - second)


def train_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time, in a drawn order: a step with the loader's batch, one with a batch that is there, the loader alone.

    Where ranks share the images, also a step that doesn't exchange its gradients: the rest is
    communication.
    """
    draw = random.Random(len(subject.model))

    def unsynced() -> None:
        with runtime.accelerator.no_sync(subject.learner.model):
            subject.step(subject.batch)

    parts: dict[str, Callable[[], object]] = {
        "train_images_per_second": lambda: subject.step(next(subject.batches)),
        "train_step_images_per_second": lambda: subject.step(subject.batch),
        "loader_images_per_second": lambda: next(subject.batches),
    }
    if runtime.data_size > 1:
        parts["unsynced_step_images_per_second"] = unsynced

    def visit() -> Mapping[str, float]:
        # All ranks must agree on it: a step waits for every rank.
        if runtime.broadcast(subject.step_seconds) < SETTLED:
            subject.step(
                subject.batch
            )  # what another model left in the caches is not this one's cost
        steps, sent = subject.steps, subject.bytes_sent
        times = {name: _each(parts[name], runtime) for name in draw.sample(list(parts), len(parts))}
        subject.step_seconds = times["train_step_images_per_second"]
        return {name: times[name] for name in parts} | subject.exchanged(steps, sent)

    return visit


def step_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time a step with the loader's batch and nothing else.

    The finest grain, for builds of one model.
    """
    return lambda: {
        "train_images_per_second": _each(lambda: subject.step(next(subject.batches)), runtime)
    }


def infer_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a whole batch."""
    return _forward_visit(subject, runtime, subject.batch.images, "infer_images_per_second", 1.0)


def latency_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a single image, in milliseconds."""
    return _forward_visit(subject, runtime, subject.batch.images[:1], "latency_ms", 1e3)


def _forward_visit(
    subject: Subject, runtime: Runtime, images: torch.Tensor, metric: str, scale: float
) -> Visit:
    model = subject.learner.bare

    def forward() -> None:
        with torch.inference_mode(), runtime.accelerator.autocast():
            model(images)

    def visit() -> Mapping[str, float]:
        model.eval()
        forward()
        return {metric: scale * _each(forward, runtime)}

    return visit


def _each(action: Callable[[], object], runtime: Runtime) -> float:
    """Seconds of an action, as many in a row as hide the cost of waiting for the device."""
    grain = GRAIN if runtime.device.type == "cuda" else 1

    def actions() -> None:
        for _ in range(grain):
            action()

    return time_action(actions, runtime) / grain


def _endless(batches: Batches) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


class Pass(NamedTuple):
    """One kind of visit, made of all models in turn, and its share of the time."""

    visit: Callable[[Subject, Runtime], Visit]
    share: float


PASSES = {
    "train": Pass(train_visit, 0.65),
    "infer": Pass(infer_visit, 0.15),
    "latency": Pass(latency_visit, 0.1),
}
SWEEP_SHARE = 0.1  # of the time: inference at growing batches (sweep.py)


REPEATS = 3  # at a size: the first one makes room for it, the faster of the others counts


def sweep(
    subject: Subject, runtime: Runtime, *, seconds: float, bytes_an_image: float, seed: int
) -> BatchTimes:
    """Time forward passes at growing batches, then all sizes again in drawn orders until `seconds` are over."""
    start, model = time.perf_counter(), subject.learner.bare.eval()

    def forward(size: int) -> float:
        images = _images(subject, max(1, size // runtime.data_size))

        def pass_forward() -> None:
            with torch.inference_mode(), runtime.accelerator.autocast():
                model(images)

        took = [time_action(pass_forward, runtime) for _ in range(REPEATS)]
        return min(took[1:])

    fits = attempt_within_memory(forward, bytes_an_image, runtime)
    last = 0.0

    def attempt(size: int) -> Outcome:
        nonlocal last
        if last and time.perf_counter() - start + 2 * REPEATS * last > seconds:
            return f"no time for {size}"
        outcome = fits(size)
        last = outcome if isinstance(outcome, float) else 0.0
        return outcome

    found = time_growing_batches(
        attempt, most=MAX_BATCH_SIZE, least=runtime.data_size, gather=runtime.gather
    )
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
    kind = (
        torch.channels_last
        if images.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    return images[rows].contiguous(memory_format=kind)


def measurements(seconds: Mapping[int, list[float]]) -> tuple[Measurement, ...]:
    """A sweep's sizes as measurements; the ranks were merged when the sizes were agreed on."""
    return tuple(
        make_measurement("sweep_images_per_second", [values], images=size, part="sweep")
        for size, values in seconds.items()
    )
