"""What a user sees of a run under way.

A bar with the time left in a terminal, plain lines elsewhere; and what trackers are told.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bench.distributed.runtime import Runtime
from bench.results.record import Accuracy, CellKey, Epoch, RunRecord
from bench.train.build import RunContext
from bench.train.trainer import Progress as Trained
from zoo.terminal import visible

NOTE_EVERY = 0.5  # seconds between lines in the log that say how far a cell is
Moved = Callable[[float, Trained], None]  # is told the share of the budget that is spent


class Display:
    """Says how a run of `num_cells` cells goes, from the one behind `num_begun` on.

    `names_cells`: other cells speak between its lines, so that each line names its own.
    """

    def __init__(
        self, runtime: Runtime, num_cells: int, num_begun: int = 0, *, names_cells: bool = False
    ) -> None:
        self.runtime = runtime
        self.num_cells = num_cells
        self.num_begun = num_begun
        self.names_cells = names_cells
        self.indent = "    "

    def show_kept(self, record: RunRecord) -> None:
        """Say that a cell was finished before the run was interrupted."""
        self.num_begun += 1
        self.runtime.say(f"[{self.num_begun}/{self.num_cells}] {record.key}: kept")

    @contextlib.contextmanager
    def show_cell(self, key: CellKey) -> Iterator[Moved]:
        """Show a cell's training; the function given moves the bar to a share of the budget."""
        self.num_begun += 1
        label = f"[{self.num_begun}/{self.num_cells}] {key}"
        self.runtime.say(f"{label}: training")
        note_progress = self._log_progress(label)
        if self.names_cells:
            self.indent = f"    {key}: "
        if self.names_cells or not self.runtime.draws_bar:
            yield note_progress
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task(visible(label), total=1.0)

            def moved(share: float, trained: Trained) -> None:
                bar.update(task, completed=share)
                note_progress(share, trained)

            yield moved

    def _log_progress(self, label: str) -> Moved:
        """Make a function that notes in the run's log how many images a cell was trained on.

        The log is all there is to follow where nobody sees a bar: on a cluster, beside other cells,
        in an epoch that takes an hour.
        """
        last = 0.0

        def moved(share: float, trained: Trained) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= NOTE_EVERY:
                last = now
                self.runtime.note(f"{label}: {trained.images} images")

        return moved

    def show_epoch(self, row: Epoch) -> None:
        """Say how an epoch ended."""
        seen = ""
        if row.evaluation is not None:
            seen = f", {row.evaluation.split} top-1 {row.evaluation.top1:.2f} %"
        rate = row.images / row.seconds if row.seconds else 0.0
        pace = f"{rate:,.0f} images/s, {row.seconds:.0f} s"
        self.runtime.say(
            f"{self.indent}epoch {row.epoch + 1}: loss {row.train_loss:.3f}{seen}, {pace}"
        )

    def show_end(self, record: RunRecord) -> None:
        """Say how a cell ended."""
        if record.status != "ok":
            self.runtime.say(f"    {record.key}: {record.status}: {record.error}")
        elif record.accuracy is not None:
            top1, top5 = record.accuracy.top1, record.accuracy.top5
            self.runtime.say(f"{self.indent}test top-1 {top1:.2f} %, top-5 {top5:.2f} %")


@contextlib.contextmanager
def open_trackers(record: RunRecord, context: RunContext) -> Iterator[Callable[[RunRecord], None]]:
    """Open the trackers for a cell; the function given tells them of its record's last epoch.

    Files go to FOLDER/track/CELL/RUN. Epochs before an interruption are told again, since a tracker
    may start anew.
    """
    accelerator = context.runtime.accelerator
    accelerator.project_configuration.logging_dir = str(context.folder / "track" / record.cell)
    names = {"wandb": {"name": record.cell}, "mlflow": {"run_name": record.cell}}
    accelerator.init_trackers(record.run, init_kwargs=names)
    try:
        for row in record.epochs:
            accelerator.log(epoch_scalars(row), step=row.step)
        yield lambda now: accelerator.log(record_scalars(now), step=last_step(now))
    finally:
        # accelerator.end_training() would leave the world as well.
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def last_step(record: RunRecord) -> int:
    """Return the steps of all epochs so far."""
    return record.epochs[-1].step if record.epochs else 0


def record_scalars(record: RunRecord) -> dict[str, float]:
    """Return the figures of a record's last epoch, and of its end where that has come."""
    scalars = epoch_scalars(record.epochs[-1]) if record.epochs else {}
    if record.accuracy:
        scalars |= accuracy_scalars(record.accuracy)
    return scalars


def epoch_scalars(row: Epoch) -> dict[str, float]:
    """Return the figures of an epoch, by name."""
    scalars = {
        "train/loss": row.train_loss,
        "train/learning_rate": row.learning_rate,
        "train/seconds": row.seconds,
    }
    if row.evaluation:
        scalars |= accuracy_scalars(row.evaluation)
    return scalars


def accuracy_scalars(counts: Accuracy) -> dict[str, float]:
    """Return the figures of an evaluation, by the part of the data that it is of."""
    part = counts.split
    return {f"{part}/top1": counts.top1, f"{part}/top5": counts.top5, f"{part}/loss": counts.loss}
