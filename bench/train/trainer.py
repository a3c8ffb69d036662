"""Fit a model and evaluate it: the same code on a CPU, a GPU and many of either."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from bench.data.loader import Batch
from bench.data.sampling import seed_of
from bench.distributed.runtime import Interrupted, Runtime
from bench.request.config import RunConfig
from bench.results.record import Epoch
from bench.train.schedule import learning_rate

CHECK_EVERY = 50  # steps between looks at whether the loss is finite: a look waits for the device
GRAIN = (
    2.0**32
)  # losses are added in multiples of 1 / GRAIN: exactly, so that no sum depends on its order


class Diverged(Exception):  # noqa: N818 - an outcome, not a fault of the program
    """The loss is not finite; `step` is the first one seen to be so."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not finite at step {step}")
        self.step = step


class Batches(Protocol):
    """What `fit` asks of a loader.

    The number of steps in an epoch, and an epoch's batches from one on.
    """

    steps_per_epoch: int

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]: ...


@dataclass
class Learner:
    """A model under training: its parallel form, its optimiser and its averaged copy."""

    bare: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    peak: float
    seed: int
    config: RunConfig
    runtime: Runtime
    class_weights: torch.Tensor | None = None

    @property
    def num_parts(self) -> int:
        """Micro-batches that a step of the world consists of."""
        return self.config.accumulate * self.runtime.data_size

    @property
    def evaluated(self) -> nn.Module:
        """The weights that count: the averaged ones where an average is kept."""
        return self.ema.module if self.ema else self.bare

    def step(self, batch: Batch, *, step: int, rate: float) -> torch.Tensor:
        """Take one optimiser step; returns each micro-batch's mean loss, (accumulate,) float32 on the device.

        N ranks and N micro-batches of one rank do alike: dropout is seeded by (seed, step,
        micro-batch of the world), and running statistics follow the first micro-batch, as those
        that count are the first rank's.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.model.train()
        num_parts = self.config.accumulate
        losses = []
        for part in range(num_parts):
            rows = slice(
                part * len(batch.labels) // num_parts, (part + 1) * len(batch.labels) // num_parts
            )
            self.runtime.seed_torch(
                seed_of(self.seed, step, self.runtime.data_rank * num_parts + part)
            )
            with contextlib.nullcontext() if part == 0 else _statistics_at_rest(self.bare):
                losses.append(self._backward(_rows(batch, rows), last=part == num_parts - 1))
        self._update()
        return torch.stack(losses)

    def _backward(self, batch: Batch, *, last: bool) -> torch.Tensor:
        accelerator = self.runtime.accelerator
        wait = contextlib.nullcontext() if last else accelerator.no_sync(self.model)
        with wait:
            with accelerator.autocast():
                loss = _loss(
                    self.model(batch.images), batch, self.config.label_smoothing, self.class_weights
                )
            # What is averaged over the ranks is divided there, what is added in their order here.
            num_added = self.config.accumulate * (
                self.runtime.data_size if self.config.exact else 1
            )
            accelerator.backward(loss / num_added)
        return loss.detach()

    def _update(self) -> None:
        accelerator = self.runtime.accelerator
        scaler = accelerator.scaler
        if self.config.clip is not None:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            self.runtime.clip_gradients(self.bare, self.config.clip)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update_parameters(self.bare)


@contextlib.contextmanager
def _statistics_at_rest(model: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from taking a forward pass into its running statistics.

    Its output is the same.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _rows(batch: Batch, rows: slice) -> Batch:
    """A micro-batch of a batch."""
    mixed = batch.mixed and (batch.mixed[0][rows], batch.mixed[1][rows])
    return Batch(batch.images[rows], batch.labels[rows], mixed)


def _loss(
    scores: torch.Tensor, batch: Batch, smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    """The mean cross entropy; of images that mixup or cutmix joined, to both labels by their weights.

    `weights` (classes,) count an image by its label. They aren't evened out over the batch, as
    torch would: a rank's share of a batch would then count for more where its classes are rare.
    """

    def loss(labels: torch.Tensor) -> torch.Tensor:
        each = F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")
        return each if weights is None else each * weights[labels]

    if batch.mixed is None and weights is None:
        return F.cross_entropy(scores, batch.labels, label_smoothing=smoothing)
    if batch.mixed is None:
        return loss(batch.labels).mean()
    others, weight = batch.mixed
    return (weight * loss(batch.labels) + (1 - weight) * loss(others)).mean()


@dataclass
class Progress:
    """How far training is: all that a resume needs beside the tensors."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    images: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # of the epoch's micro-batches so far, over all ranks
    num_parts: int = 0  # micro-batches a step of the world that added them up
    saved_at: float = 0.0
    rate: float = 0.0  # of the last step

    def split_into(self, num_parts: int) -> None:
        """Go on in a world of so many micro-batches a step: as many others weigh as much."""
        self.loss_sum *= num_parts / (self.num_parts or num_parts)
        self.num_parts = num_parts


class Hooks(NamedTuple):
    """What the cell wants to be told of.

    `save` at a checkpoint, `moved` with the share spent after each step.
    """

    save: Callable[[Progress], None]
    moved: Callable[[float, Progress], None]


def fit(learner: Learner, batches: Batches, progress: Progress, hooks: Hooks) -> Iterator[Epoch]:
    """Train until the budget is spent, yielding each epoch's row at its end; time between the rows isn't training.

    Raises Diverged where the loss isn't finite, and Interrupted after a checkpoint where a signal
    came.
    """
    progress.split_into(learner.num_parts)
    while _share(learner.config, progress, progress.seconds, batches.steps_per_epoch) < 1:
        _one_epoch(learner, batches, progress, hooks)
        # The world has trained for as long as its slowest rank.
        progress.seconds = max(learner.runtime.gather(progress.seconds))
        train_loss = progress.loss_sum / learner.num_parts / max(1, progress.step_in_epoch)
        row = Epoch(
            epoch=progress.epoch,
            step=progress.step,
            images=progress.images,
            seconds=progress.seconds,
            train_loss=train_loss,
            learning_rate=progress.rate,
        )
        progress.epoch, progress.step_in_epoch, progress.loss_sum = progress.epoch + 1, 0, 0.0
        yield row


def _one_epoch(learner: Learner, batches: Batches, progress: Progress, hooks: Hooks) -> None:
    """Train until the epoch or the budget ends."""
    config, runtime = learner.config, learner.runtime
    before, start, spent = progress.seconds, time.perf_counter(), progress.seconds
    losses = _Losses(progress, runtime.device)
    for batch in batches.epoch(progress.epoch, start=progress.step_in_epoch):
        share = _share(config, progress, spent, batches.steps_per_epoch)
        if share >= 1:
            break
        progress.rate = learning_rate(config, learner.peak, share)
        losses.add(learner.step(batch, step=progress.step, rate=progress.rate))
        progress.step, progress.step_in_epoch = progress.step + 1, progress.step_in_epoch + 1
        progress.images += config.batch_size
        now = before + time.perf_counter() - start
        pulse = runtime.pulse(
            now, diverged_at=losses.check() if progress.step % CHECK_EVERY == 0 else 0
        )
        spent = pulse.seconds
        hooks.moved(share, progress)
        if pulse.diverged_at:
            raise Diverged(pulse.diverged_at)
        if pulse.signum or spent - progress.saved_at >= config.checkpoint_seconds:
            pause = time.perf_counter()
            progress.seconds, progress.saved_at, progress.loss_sum = (
                now,
                spent,
                losses.world_sum(runtime),
            )
            hooks.save(progress)
            start += time.perf_counter() - pause
        if pulse.signum:
            raise Interrupted(pulse.signum)
    runtime.synchronize()
    progress.seconds = max(before + time.perf_counter() - start, runtime.finish_pulses().seconds)
    progress.loss_sum = losses.world_sum(runtime)


class _Losses:
    """The losses of an epoch, summed on the device.

    They are looked at seldom, since a look waits for it.
    """

    def __init__(self, progress: Progress, device: torch.device) -> None:
        self.progress = progress
        self.before = progress.loss_sum
        self.sum = torch.zeros((), dtype=torch.float64, device=device)
        self.unseen: list[torch.Tensor] = []

    def add(self, losses: torch.Tensor) -> None:
        """Take in the losses of a step's micro-batches (n,)."""
        self.sum += (losses.double() * GRAIN).round().sum() / GRAIN
        self.unseen.append(losses.sum())

    def world_sum(self, runtime: Runtime) -> float:
        """The epoch's sum over all ranks.

        A collective call; raises Diverged on every rank if one's isn't finite.
        """
        diverged_at = runtime.gather(self.check())
        if any(diverged_at):
            raise Diverged(min(filter(None, diverged_at)))
        return float(self.before + sum(runtime.gather_shards(float(self.sum))))

    def check(self) -> int:
        """The number of the first step since the last look whose loss isn't finite, counted from 1; 0 for none."""
        finite = [] if not self.unseen else torch.isfinite(torch.stack(self.unseen)).tolist()
        first = self.progress.step - len(finite) + 1
        self.unseen.clear()
        return 0 if all(finite) else first + finite.index(False)


def _share(config: RunConfig, progress: Progress, seconds: float, steps_per_epoch: int) -> float:
    """The share of the budget that is spent: of its steps, or of its seconds."""
    if config.seconds is not None:
        return seconds / config.seconds
    total = (config.epochs or 0) * steps_per_epoch
    return progress.step / total if total else 1.0
