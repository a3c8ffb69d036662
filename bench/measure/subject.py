"""A model held ready to be measured."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from bench.data.loader import Batch
from bench.distributed.runtime import Interrupted, Runtime
from bench.measure.deployed import Deployed
from bench.request.config import RunConfig
from bench.train.build import (
    RunContext,
    build_learner,
    build_loader,
    build_model,
    compile_model,
    prepare_learner,
)
from bench.train.method_choice import takes_steps
from bench.train.schedule import choose_optimizer
from bench.train.step import build_tiny_network, make_noise_batch, time_action
from bench.train.trainer import Batches, Learner
from zoo.cause import cause_of
from zoo.kernel import library_kernels
from zoo.spec import STEPS, ModelSpec

# Steps that are timed must not lead to weights that overflow, however many there are.
TINY_RATE = 1e-4


@dataclass
class Subject:
    """A model with endless batches of its own, and one batch that is already on the device.

    `learner` is None where it doesn't learn by steps.
    """

    model: str
    bare: nn.Module
    learner: Learner | None
    config: RunConfig
    runtime: Runtime
    batches: Iterator[Batch]
    batch: Batch
    num_steps: int = 0
    step_seconds: float = 0.0  # of its last visit
    deployed: Deployed | None = None  # its exported file, where that is measured

    def step(self, batch: Batch) -> None:
        """Take a training step too small to change anything."""
        assert self.learner is not None, "only what learns by steps is asked for one"
        self.num_steps += 1
        self.learner.step(batch, step=self.num_steps, rate=TINY_RATE)

    def make_scorer(self, *, sizes_vary: bool = False) -> nn.Module:
        """Return the model as it answers: compiled, where the run compiles its models.

        Without what averages gradients, and so not the learner's own compiled model.
        """
        if not self.config.compile:
            return self.bare
        return compile_model(self.bare, sizes_vary=sizes_vary)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Hold the model as it is measured in inference: its mode, and whose convolutions it has.

        Training goes on with its own.
        """
        self.bare.eval()
        if self.runtime.infer_kernels == self.runtime.kernels:
            yield
            return
        with library_kernels(self.bare):
            yield

    @property
    def bytes_sent(self) -> int | None:
        """The bytes that this rank has sent to those it shares the model with.

        None where it has the model alone.
        """
        return getattr(self.bare, "bytes_sent", None)


def build_subject(spec: ModelSpec, context: RunContext) -> Subject:
    """Build a model as a cell does, with fresh weights.

    How fast it is doesn't depend on what it has learnt.
    """
    runtime, seed = context.runtime, context.config.seeds[0]
    config = choose_optimizer(context.config, spec.defaults)
    assert config.lr is not None, "choose_optimizer fills it in"
    model = build_model(spec, seed, context)
    learner = None
    if spec.learner == STEPS:
        learner = prepare_learner(
            model, spec, config=config, peak=config.lr, seed=seed, runtime=runtime
        )
    bare = learner.bare if learner else runtime.place_model(model, spec.parallelise)
    batches = _repeat_epochs(build_loader(spec, seed, context))
    return Subject(spec.name, bare, learner, config, runtime, batches, next(batches))


def _repeat_epochs(batches: Batches) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def warm_up_torch(runtime: Runtime, config: RunConfig) -> None:
    """Train a tiny network for a step, so that no first step pays for what torch loads late."""
    config = replace(config, compile=False)
    tiny = build_tiny_network().to(runtime.device)
    learner = build_learner(tiny, config=config, peak=TINY_RATE, seed=0, runtime=runtime)
    batch = make_noise_batch(config.accumulate, (3, 8, 8), config=config, device=runtime.device)
    learner.step(batch, step=0, rate=TINY_RATE)


def try_to_build(spec: ModelSpec, context: RunContext) -> tuple[Subject, dict[str, float]] | str:
    """Build a subject and time its first steps; why not, where its own code fails."""
    try:
        return _build_and_time(spec, context)
    except Interrupted:
        raise
    except Exception as error:
        return cause_of(error)


def _build_and_time(spec: ModelSpec, context: RunContext) -> tuple[Subject, dict[str, float]]:
    """Build a subject and take two steps, if it learns by steps: it, and seconds by metric.

    `first_step_seconds` are those from nothing to the end of the first step. By how much that step
    was longer than the second one is what compiling takes, where the model is compiled.
    """
    runtime = context.runtime
    start = time.perf_counter()
    subject = build_subject(spec, context)
    if not takes_steps(spec, context.config):
        return subject, {}
    built = time.perf_counter()
    subject.step(subject.batch)
    runtime.synchronize()
    done = time.perf_counter()
    second = time_action(lambda: subject.step(subject.batch), runtime)
    seconds = {"first_step_seconds": done - start}
    if context.config.compile:
        seconds["compile_seconds"] = max(0.0, done - built - second)
    return subject, seconds
