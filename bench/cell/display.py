"""What a user sees of a run under way.

A bar with the time left in a terminal, plain lines elsewhere.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bench.distributed.runtime import Runtime
from bench.results.record import Accuracy, Epoch, RunRecord
from bench.train.trainer import Progress as Trained

if TYPE_CHECKING:
    from bench.distributed.runtime import Runtime

NOTE_EVERY = 0.5  # seconds


class _Noted:
    """Keeps in the log how many images a cell was trained on, so that another clock can be held against its rate."""

    def __init__(self, runtime: Runtime, label: str) -> None:
        self.runtime, self.label, self.last = runtime, label, 0.0

    def moved(self, trained: Trained) -> None:
        now = time.monotonic()
        if now - self.last >= NOTE_EVERY:
            self.last = now
            self.runtime.note(f"{self.label}: {trained.images} images")


class Display:
    """Says how a run of `num_cells` cells goes, from the one behind `num_begun` on.

    `packed`: other cells speak between its lines, so that each names its own.
    """

    def __init__(
        self, runtime: Runtime, num_cells: int, num_begun: int = 0, *, packed: bool = False
    ) -> None:
        self.runtime = runtime
        self.num_cells = num_cells
        self.num_begun = num_begun
        self.packed = packed
        self.indent = "    "

    def kept(self, record: RunRecord) -> None:
        """Say that a cell was finished before the run was interrupted."""
        self.num_begun += 1
        self.runtime.say(
            f"[{self.num_begun}/{self.num_cells}] {record.model}, seed {record.seed}: kept"
        )

    @contextlib.contextmanager
    def cell(self, model: str, seed: int) -> Iterator[Callable[[float, Trained], None]]:
        """Show a cell's training; the function given moves the bar to a share of the budget."""
        self.num_begun += 1
        label = f"[{self.num_begun}/{self.num_cells}] {model}, seed {seed}"
        self.runtime.say(f"{label}: training")
        noted = _Noted(self.runtime, label)
        if self.packed:
            self.indent = f"    {model}, seed {seed}: "
        if self.packed or not self.runtime.draws_bar:
            yield lambda share, trained: noted.moved(trained)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task(label, total=1.0)

            def moved(share: float, trained: Trained) -> None:
                bar.update(task, completed=share)
                noted.moved(trained)

            yield moved

    def epoch(self, model: str, row: Epoch) -> None:
        """Say how an epoch ended."""
        seen = (
            ""
            if row.evaluation is None
            else f", {row.evaluation.split} top-1 {row.evaluation.top1:.2f} %"
        )
        rate = row.images / row.seconds if row.seconds else 0.0
        pace = f"{rate:,.0f} images/s, {row.seconds:.0f} s"
        self.runtime.say(
            f"{self.indent}epoch {row.epoch + 1}: loss {row.train_loss:.3f}{seen}, {pace}"
        )

    def end(self, record: RunRecord) -> None:
        """Say how a cell ended."""
        if record.status != "ok":
            self.runtime.say(
                f"    {record.model}, seed {record.seed}: {record.status}: {record.error}"
            )
        elif record.accuracy is not None:
            self.runtime.say(
                f"{self.indent}test top-1 {record.accuracy.top1:.2f} %, top-5 {record.accuracy.top5:.2f} %"
            )


@contextlib.contextmanager
def tracked(
    record: RunRecord, folder: Path, runtime: "Runtime"
) -> Iterator[Callable[[RunRecord], None]]:
    """Open the trackers for a cell; the function given tells them of the epoch that its record ends with.

    Files go to FOLDER/track/CELL/RUN. Epochs before an interruption are told again, since a tracker
    may start anew.
    """
    accelerator = runtime.accelerator
    accelerator.project_configuration.logging_dir = str(folder / "track" / record.cell)
    names = {"wandb": {"name": record.cell}, "mlflow": {"run_name": record.cell}}
    accelerator.init_trackers(record.run, init_kwargs=names)
    try:
        for row in record.epochs:
            accelerator.log(epoch_scalars(row), step=row.step)
        yield lambda now: accelerator.log(scalars(now), step=now.epochs[-1].step)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def scalars(record: RunRecord) -> dict[str, float]:
    """The figures of the epoch that a record ends with, and those of the end where it has come."""
    return epoch_scalars(record.epochs[-1]) | (
        _accuracy_scalars(record.accuracy) if record.accuracy else {}
    )


def epoch_scalars(row: Epoch) -> dict[str, float]:
    """The figures of an epoch, by name."""
    own = {
        "train/loss": row.train_loss,
        "train/learning_rate": row.learning_rate,
        "train/seconds": row.seconds,
    }
    return own | (_accuracy_scalars(row.evaluation) if row.evaluation else {})


def _accuracy_scalars(counts: Accuracy) -> dict[str, float]:
    part = counts.split
    return {f"{part}/top1": counts.top1, f"{part}/top5": counts.top5, f"{part}/loss": counts.loss}
