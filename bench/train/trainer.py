"""Fit a model by gradient descent: the same code on a CPU, a GPU and many of either."""

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
from bench.distributed.runtime import Interrupted, Pulse, Runtime
from bench.request.config import RunConfig
from bench.results.record import Epoch
from bench.train.schedule import learning_rate_at

CHECK_EVERY = 50  # steps between looks at whether the loss is finite: a look waits for the device
# Losses are added in multiples of 1 / GRAIN: exactly, so that no sum depends on its order.
GRAIN = 2.0**32


class Diverged(Exception):  # noqa: N818 - an outcome, not a fault of the program
    """A loss is not finite; the text says which."""


class Batches(Protocol):
    """What `fit` asks of a loader: steps in an epoch, and an epoch's batches from one on."""

    steps_per_epoch: int

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]: ...


@dataclass
class Learner:
    """A model under training: its parallel form, its optimiser and its averaged copy.

    `bare` and `model` share their weights; `peak` is the highest learning rate of the schedule.
    """

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
        """Return how many micro-batches a step of all ranks consists of."""
        return self.config.accumulate * self.runtime.data_size

    @property
    def evaluated(self) -> nn.Module:
        """Return the model whose weights count: the averaged copy where one is kept."""
        return self.ema.module if self.ema else self.bare

    def step(self, batch: Batch, *, step: int, rate: float) -> torch.Tensor:
        """Take one optimiser step at the learning rate `rate`.

        Returns each micro-batch's mean loss, (accumulate,) float32 on the device. N ranks and N
        micro-batches of one rank do alike: dropout is seeded by (seed, step, micro-batch of all
        ranks), and running statistics follow the first micro-batch, as those that count are the
        first rank's.
        """
        for group in self.optimizer.param_groups:
            # timm's groups may scale it by layer.
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.model.train()
        num_local_parts = self.config.accumulate
        first_part = self.runtime.data_rank * num_local_parts
        losses = []
        for part in range(num_local_parts):
            self.runtime.seed_torch(seed_of(self.seed, step, first_part + part))
            statistics = contextlib.nullcontext() if part == 0 else _frozen_statistics(self.bare)
            micro_batch = _micro_batch(batch, part, num_local_parts)
            with statistics:
                losses.append(self._backward(micro_batch, last=part == num_local_parts - 1))
        self._update()
        return torch.stack(losses)

    def _backward(self, batch: Batch, *, last: bool) -> torch.Tensor:
        """Add a micro-batch's gradients; ranks exchange them once, after the last one."""
        config, accelerator = self.config, self.runtime.accelerator
        exchange = contextlib.nullcontext() if last else accelerator.no_sync(self.model)
        with exchange:
            with accelerator.autocast():
                scores = self.model(batch.images)
                loss = _loss(scores, batch, config.label_smoothing, self.class_weights)
            num_added = config.accumulate
            if config.exact:
                # DDP averages over ranks; --exact sums, so divide by the number of ranks here.
                num_added *= self.runtime.data_size
            accelerator.backward(loss / num_added)
        return loss.detach()

    def _update(self) -> None:
        """Apply the gradients, clipped if asked for, to the weights and to their average."""
        # fp16 scales its loss so that small gradients don't vanish; the limit is on unscaled ones.
        scaler = self.runtime.accelerator.scaler
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
def _frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from taking a forward pass into its running statistics.

    Its output is the same.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    tracking = [norm for norm in norms if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


def _micro_batch(batch: Batch, part: int, num_parts: int) -> Batch:
    """Return a part of a batch; where it can't be divided evenly, parts differ by one image."""
    num_images = len(batch.labels)
    rows = slice(part * num_images // num_parts, (part + 1) * num_images // num_parts)
    mixed = None
    if batch.mixed is not None:
        other_labels, weights = batch.mixed
        mixed = (other_labels[rows], weights[rows])
    return Batch(batch.images[rows], batch.labels[rows], mixed)


def _loss(
    scores: torch.Tensor, batch: Batch, smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean cross entropy of scores (N, classes), a scalar.

    Images that mixup or cutmix joined count for both labels, by their weights. `weights` (classes,)
    count an image by its label. They aren't evened out over the batch, as torch would: a rank's
    share of a batch would then count for more where its classes are rare.
    """

    def loss_per_image(labels: torch.Tensor) -> torch.Tensor:
        losses = F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")
        return losses if weights is None else losses * weights[labels]

    if batch.mixed is not None:
        others, weight = batch.mixed
        own_loss, other_loss = loss_per_image(batch.labels), loss_per_image(others)
        return (weight * own_loss + (1 - weight) * other_loss).mean()
    if weights is not None:
        return loss_per_image(batch.labels).mean()
    # torch's own mean is one kernel, and the sum that every run without weights has taken.
    return F.cross_entropy(scores, batch.labels, label_smoothing=smoothing)


@dataclass
class Progress:
    """How far training is: all that a resume needs beside the tensors."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    images: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # of the epoch's micro-batches so far, over all ranks
    num_parts: int = 0  # micro-batches a step, over all ranks, that added them up
    saved_at: float = 0.0  # seconds of training at the last checkpoint
    rate: float = 0.0  # learning rate of the last step

    def split_into(self, num_parts: int) -> None:
        """Go on with so many micro-batches a step: the sum is scaled as if it were theirs."""
        if self.num_parts:
            self.loss_sum *= num_parts / self.num_parts
        self.num_parts = num_parts


class Hooks(NamedTuple):
    """What a cell wants to be told of.

    `save` is called at a checkpoint, `after_step` with the spent share of the budget.
    """

    save: Callable[[Progress], None]
    after_step: Callable[[float, Progress], None]


def fit(learner: Learner, batches: Batches, progress: Progress, hooks: Hooks) -> Iterator[Epoch]:
    """Train until the budget is spent, yielding each epoch's row at its end.

    Time between the rows isn't training. Raises Diverged where the loss isn't finite, and
    Interrupted after a checkpoint where a signal came.
    """
    progress.split_into(learner.num_parts)
    while _share_of_budget(learner.config, progress, progress.seconds, batches) < 1:
        _train_epoch(learner, batches, progress, hooks)
        # All ranks have trained for as long as the slowest of them.
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
        # Before the row is handed out: a checkpoint of the pause is one of the next epoch's start.
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.loss_sum = 0.0
        yield row


def _train_epoch(learner: Learner, batches: Batches, progress: Progress, hooks: Hooks) -> None:
    """Train until the epoch or the budget ends."""
    config, runtime = learner.config, learner.runtime
    # A cell that diverged or failed leaves a pulse behind, whose time isn't this cell's.
    runtime.finish_pulses()
    seconds_before = progress.seconds
    start = time.perf_counter()
    losses = _Losses(progress, runtime.device)
    # What all ranks agree on, a step late, so that all of them stop at the same step.
    agreed = Pulse(signum=0, seconds=progress.seconds, diverged_at=0)
    for batch in batches.epoch(progress.epoch, start=progress.step_in_epoch):
        share = _share_of_budget(config, progress, agreed.seconds, batches)
        if share >= 1:
            break
        progress.rate = learning_rate_at(config, learner.peak, share)
        losses.add(learner.step(batch, step=progress.step, rate=progress.rate))
        progress.step += 1
        progress.step_in_epoch += 1
        progress.images += config.batch_size
        own_seconds = seconds_before + time.perf_counter() - start
        diverged_at = losses.check() if progress.step % CHECK_EVERY == 0 else 0
        agreed = runtime.pulse(own_seconds, diverged_at=diverged_at) or agreed
        hooks.after_step(share, progress)
        if agreed.diverged_at:
            raise Diverged(f"the loss is not finite at step {agreed.diverged_at}")
        checkpoint_is_due = agreed.seconds - progress.saved_at >= config.checkpoint_seconds
        if agreed.signum or checkpoint_is_due:
            pause = time.perf_counter()
            progress.seconds = own_seconds
            progress.saved_at = agreed.seconds
            progress.loss_sum = losses.sum_over_ranks(runtime)
            hooks.save(progress)
            start += time.perf_counter() - pause  # saving isn't training
        if agreed.signum:
            raise Interrupted(agreed.signum)
    runtime.synchronize()
    own_seconds = seconds_before + time.perf_counter() - start
    last_pulse = runtime.finish_pulses()
    progress.seconds = max(own_seconds, last_pulse.seconds if last_pulse else 0.0)
    progress.loss_sum = losses.sum_over_ranks(runtime)


class _Losses:
    """The losses of an epoch, summed on the device; looked at seldom, since a look waits for it."""

    def __init__(self, progress: Progress, device: torch.device) -> None:
        self.progress = progress
        self.before = progress.loss_sum
        self.sum = torch.zeros((), dtype=torch.float64, device=device)
        self.unseen: list[torch.Tensor] = []
        self.diverged_at = 0

    def add(self, losses: torch.Tensor) -> None:
        """Take in the losses of a step's micro-batches (n,)."""
        self.sum += (losses.double() * GRAIN).round().sum() / GRAIN
        self.unseen.append(losses.sum())

    def sum_over_ranks(self, runtime: Runtime) -> float:
        """Return the epoch's sum over all ranks.

        A collective call; raises Diverged on every rank if one's isn't finite.
        """
        diverged_at = [step for step in runtime.gather(self.check()) if step]
        if diverged_at:
            raise Diverged(f"the loss is not finite at step {min(diverged_at)}")
        return float(self.before + sum(runtime.gather_shards(float(self.sum))))

    def check(self) -> int:
        """Return the epoch's first step whose loss isn't finite, from 1; 0 for none."""
        # What was found stays found: several ranks hear of it a step late, when it may be too late.
        if self.diverged_at or not self.unseen:
            return self.diverged_at
        finite = torch.isfinite(torch.stack(self.unseen)).tolist()
        self.unseen.clear()
        if not all(finite):
            first_unseen = self.progress.step - len(finite) + 1
            self.diverged_at = first_unseen + int(finite.index(False))
        return self.diverged_at


def _share_of_budget(
    config: RunConfig, progress: Progress, seconds: float, batches: Batches
) -> float:
    """Return the share of the budget that is spent: of its steps, or of its seconds."""
    if config.seconds is not None:
        return seconds / config.seconds
    num_steps = (config.epochs or 0) * batches.steps_per_epoch
    return progress.step / num_steps if num_steps else 1.0
