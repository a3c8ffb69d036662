"""Learning by steps on batches, which `trainer.py` takes, with checkpoints to go on from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from bench.data.dataset import Split, class_weights
from bench.results.record import Accuracy, Epoch, Stage
from bench.train import checkpoint
from bench.train.build import RunContext, assess, build_loader, prepare_learner
from bench.train.checkpoint_writer import CheckpointWriter
from bench.train.evaluation import Predictions
from bench.train.method import Moved
from bench.train.schedule import drop_peak
from bench.train.trainer import Hooks, Learner, Progress, fit
from zoo.spec import ModelSpec


@dataclass
class StepMethod:
    """Gradient descent: a learner, how far it has come, and who writes its checkpoints."""

    learner: Learner
    spec: ModelSpec
    context: RunContext
    writer: CheckpointWriter
    progress: Progress = field(default_factory=Progress)
    was_restored: bool = False

    @property
    def bare(self) -> nn.Module:
        return self.learner.bare

    @property
    def evaluated(self) -> nn.Module:
        return self.learner.evaluated

    @property
    def stages(self) -> tuple[Stage, ...]:
        return ()

    def restore(self, stages: tuple[Stage, ...]) -> None:
        """Load the newest checkpoint that verifies, if there is one."""
        found = checkpoint.restore(self.writer.folder, self.learner)
        self.was_restored = found is not None
        self.progress = found or Progress()

    def begin(self) -> None:
        """Do nothing: all that it learns it learns by steps."""

    def fit(self, moved: Moved) -> Iterator[Epoch]:
        """Train until the budget of epochs or seconds is spent (`trainer.fit`)."""
        batches = build_loader(self.spec, self.learner.seed, self.context)
        hooks = Hooks(self.writer.save, moved)
        yield from fit(self.learner, batches, self.progress, hooks)

    def heed(self, errors: Sequence[float]) -> None:
        """Lower the learning rate where the schedule looks at validation errors."""
        peak = self.learner.config.lr
        assert peak is not None, "choose_optimizer filled it in"
        self.learner.peak = drop_peak(self.learner.config, peak, errors)

    def assess(self, split: Split, crops: int) -> tuple[Accuracy, Predictions]:
        """Evaluate the model whose weights count."""
        return assess(self.evaluated, self.spec, self.context, split=split, crops=crops)

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this step, and wait until it is there."""
        self.writer.save(self.progress)
        self.writer.finish()

    def close(self) -> None:
        """Wait for a checkpoint that is being written."""
        self.writer.close()


def start_step_method(
    model: nn.Module, spec: ModelSpec, seed: int, context: RunContext, checkpoints: Path
) -> StepMethod:
    """Put a built model where it is trained, with what a step needs."""
    config = context.config
    assert config.lr is not None, "choose_optimizer filled it in"
    weights = class_weights(context.data).tolist() if config.class_weights else None
    learner = prepare_learner(
        model,
        spec,
        config=config,
        peak=config.lr,
        seed=seed,
        runtime=context.runtime,
        class_weights=weights,
    )
    return StepMethod(learner, spec, context, CheckpointWriter(checkpoints, learner))
