"""What is measured of a model: one function a measurement, one table of what each metric is."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from bench.loader import Batch
from bench.pairing import Visit
from bench.runtime import Runtime, mix
from bench.trainer import Batches, Learner

SETTLED = 0.1  # seconds of a step beside which cold caches are nothing


class Metric(NamedTuple):
    """Unit, direction and way of merging ranks of a metric; `per_batch` where it is a rate of a batch's images."""

    unit: str
    better: Literal["higher", "lower"]
    merge: Literal["slowest", "largest", "sum"]
    per_batch: bool


METRICS = {
    "train_images_per_second": Metric("images/s", "higher", "slowest", True),
    "train_step_images_per_second": Metric("images/s", "higher", "slowest", True),
    "loader_images_per_second": Metric("images/s", "higher", "slowest", True),
    "infer_images_per_second": Metric("images/s", "higher", "slowest", True),
    "latency_ms": Metric("ms", "lower", "slowest", False),
    "peak_memory_bytes": Metric("bytes", "lower", "largest", False),
}


@dataclass
class Subject:
    """A model held ready to be measured, with batches of its own and one batch that is already there."""

    model: str
    learner: Learner
    batches: Iterator[Batch]
    batch: Batch
    steps: int = 0
    step_seconds: float = 0.0


def build_subject(model: str, learner: Learner, batches: Batches) -> Subject:
    """Hold a model ready; its loader goes round and round."""
    endless = _endless(batches)
    return Subject(model, learner, endless, next(endless))


def train_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time, in a drawn order: a step with the loader's batch, one with a batch that is there, the loader alone."""
    draw = random.Random(mix(len(subject.model)))

    def step(batch: Batch) -> None:
        subject.steps += 1
        subject.learner.step(batch, step=subject.steps, rate=1e-4)

    parts: dict[str, Callable[[], object]] = {
        "train_images_per_second": lambda: step(next(subject.batches)),
        "train_step_images_per_second": lambda: step(subject.batch),
        "loader_images_per_second": lambda: next(subject.batches),
    }

    def visit() -> Mapping[str, float]:
        # All ranks must agree on it: a step waits for every rank.
        if runtime.broadcast(subject.step_seconds) < SETTLED:
            step(subject.batch)  # what another model left in the caches is not this one's cost
        times = {name: _seconds(parts[name], runtime) for name in draw.sample(list(parts), len(parts))}
        subject.step_seconds = times["train_step_images_per_second"]
        return {name: times[name] for name in parts}

    return visit


def infer_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a whole batch."""
    return _forward_visit(subject, runtime, subject.batch.images, "infer_images_per_second", 1.0)


def latency_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a single image, in milliseconds."""
    return _forward_visit(subject, runtime, subject.batch.images[:1], "latency_ms", 1e3)


def _forward_visit(subject: Subject, runtime: Runtime, images: torch.Tensor, metric: str, scale: float) -> Visit:
    model = subject.learner.bare

    def forward() -> None:
        with torch.inference_mode(), runtime.accelerator.autocast():
            model(images)

    def visit() -> Mapping[str, float]:
        model.eval()
        forward()
        return {metric: scale * _seconds(forward, runtime)}

    return visit


def _seconds(action: Callable[[], object], runtime: Runtime) -> float:
    runtime.synchronize()
    start = time.perf_counter()
    action()
    runtime.synchronize()
    return time.perf_counter() - start


def _endless(batches: Batches) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


class Pass(NamedTuple):
    """One kind of visit, made of all models in turn, and its share of the time."""

    visit: Callable[[Subject, Runtime], Visit]
    share: float


PASSES = {"train": Pass(train_visit, 0.7), "infer": Pass(infer_visit, 0.2), "latency": Pass(latency_visit, 0.1)}
