"""How a cell's model learns: what a cell asks, whatever the way.

By steps on batches it is `step_method.py`. Another way is another class with these methods; the
cell, its record, evaluation and measuring ask nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import nn

from bench.data.dataset import Split
from bench.results.record import Accuracy, Epoch, Stage
from bench.train.evaluation import Predictions
from bench.train.trainer import Progress

# Is told the share of the budget that is spent, and how far training is.
Moved = Callable[[float, Progress], None]


class LearningMethod(Protocol):
    """A model, and what makes it learn. All but the properties are collective calls."""

    @property
    def bare(self) -> nn.Module:
        """Return what this rank holds of the model."""

    @property
    def evaluated(self) -> nn.Module:
        """Return the model whose weights count: it maps images to scores."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return what it has learnt otherwise than by steps."""

    @property
    def progress(self) -> Progress:
        """Return how far its steps have come: nowhere, before `restore` and `fit`."""

    def restore(self, stages: tuple[Stage, ...]) -> None:
        """Go on from what an interrupted start has saved, if it has saved anything.

        `stages` are those of its record.
        """

    def begin(self) -> None:
        """Learn what isn't learnt by steps, before them; `stages` then say what that was."""

    def fit(self, moved: Moved) -> Iterator[Epoch]:
        """Learn until the budget is spent, yielding a row at each epoch's end, if it has epochs.

        Time between the rows isn't training. Raises Diverged and Interrupted.
        """

    def heed(self, errors: Sequence[float]) -> None:
        """Take in the validation errors of all epochs so far, in percent."""

    def assess(self, split: Split, crops: int) -> tuple[Accuracy, Predictions]:
        """Evaluate the model on a split's images, each seen in so many crops."""

    def save(self) -> None:
        """Keep what `restore` goes on from, where an interruption would lose it."""

    def close(self) -> None:
        """Let go of what it holds, whether it has come to an end or not; asks no other rank."""
