"""What a visit times: each function makes the visits of one choice of --measure.

What their metrics are stands in bench/results/metric.py, who is visited when in turns.py.
"""

import random
from collections.abc import Callable, Mapping

import torch
from torch import nn

from bench.distributed.runtime import Runtime
from bench.measure.deployed import time_deployed
from bench.measure.subject import Subject
from bench.measure.turns import Visit
from bench.results.metric import DEPLOY, INFER, LATENCY, TRAIN
from bench.train.step import time_action

# Between two waits for a GPU, which would otherwise be timed as much as what it is waited for.
ACTIONS_PER_WAIT = 8
# Beside a step of so many seconds cold caches are nothing.
LONG_STEP_SECONDS = 0.1


def train_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time three things in a drawn order, so that they pair: step and loader, step, loader.

    A step with the loader's batch, one with a batch that is already there, and the loader alone.
    Where ranks share the images, also a step that doesn't exchange its gradients: the rest is
    communication.
    """
    draw = random.Random(len(subject.model))
    learner = subject.learner
    assert learner is not None, "only what learns by steps is visited so"

    def step_unsynced() -> None:
        with runtime.accelerator.no_sync(learner.model):
            subject.step(subject.batch)

    parts: dict[str, Callable[[], object]] = {
        "train_images_per_second": lambda: subject.step(next(subject.batches)),
        "train_step_images_per_second": lambda: subject.step(subject.batch),
        "loader_images_per_second": lambda: next(subject.batches),
    }
    if runtime.data_size > 1:
        parts["unsynced_step_images_per_second"] = step_unsynced

    def visit() -> Mapping[str, float]:
        # What another model left in the caches is not this one's cost. All ranks must agree on it,
        # since a step waits for every rank.
        if runtime.broadcast(subject.step_seconds) < LONG_STEP_SECONDS:
            subject.step(subject.batch)
        steps_before, sent_before = subject.num_steps, subject.bytes_sent
        seconds = dict.fromkeys(parts, 0.0)
        for name in draw.sample(list(parts), len(parts)):
            seconds[name] = _time_each(parts[name], runtime)
        subject.step_seconds = seconds["train_step_images_per_second"]
        sent = subject.bytes_sent
        if sent is None or sent_before is None:
            return seconds
        steps = subject.num_steps - steps_before
        return seconds | {"exchanged_bytes": (sent - sent_before) / steps}

    return visit


def step_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time a step with the loader's batch and nothing else.

    The finest grain, for builds of one model.
    """
    return lambda: {
        "train_images_per_second": _time_each(lambda: subject.step(next(subject.batches)), runtime)
    }


def infer_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a whole batch."""
    model = subject.make_scorer()
    forward = forward_pass(model, subject.batch.images, runtime)

    def visit() -> Mapping[str, float]:
        with subject.answering():
            forward()
            return {"infer_images_per_second": _time_each(forward, runtime)}

    return visit


def latency_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the forward pass of a single image, in milliseconds."""
    model = subject.make_scorer()
    forward = forward_pass(model, subject.batch.images[:1], runtime)

    def visit() -> Mapping[str, float]:
        with subject.answering():
            forward()
            return {"latency_ms": 1e3 * _time_each(forward, runtime)}

    return visit


def deploy_visit(subject: Subject, runtime: Runtime) -> Visit:
    """Time the exported file in every way, an image at a time and in batches."""
    assert subject.deployed is not None, "only subjects with a file are visited"
    return time_deployed(subject.deployed, random.Random(len(subject.model)), runtime)


VISITS: dict[str, Callable[[Subject, Runtime], Visit]] = {
    TRAIN.name: train_visit,
    INFER.name: infer_visit,
    LATENCY.name: latency_visit,
    DEPLOY.name: deploy_visit,
}


def forward_pass(model: nn.Module, images: torch.Tensor, runtime: Runtime) -> Callable[[], None]:
    """Make the action of a forward pass of these images, at the run's precision."""

    def forward() -> None:
        with torch.inference_mode(), runtime.accelerator.autocast():
            model(images)

    return forward


def _time_each(action: Callable[[], object], runtime: Runtime) -> float:
    """Return seconds of an action, as many in a row as hide the cost of waiting for the device."""
    repeats = ACTIONS_PER_WAIT if runtime.device.type == "cuda" else 1

    def repeat() -> None:
        for _ in range(repeats):
            action()

    return time_action(repeat, runtime) / repeats
