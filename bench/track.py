"""Trackers by name, `--track tensorboard`: each epoch's figures as scalars, by accelerate's trackers, once a world.

No torch: names and packages are checked before anything starts.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.record import Accuracy, Epoch, RunRecord

if TYPE_CHECKING:
    from bench.distributed.runtime import Runtime

from bench.request.config import TRACKERS


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package isn't there, with the command that installs it."""
    for name in names:
        if find_spec(TRACKERS[name]) is None:
            raise ValueError(f"--track {name}: its package is missing: .venv/bin/python -m pip install {name}")


@contextlib.contextmanager
def tracked(record: RunRecord, folder: Path, runtime: "Runtime") -> Iterator[Callable[[RunRecord], None]]:
    """Open the trackers for a cell; the function given tells them of the epoch that its record ends with.

    Files go to FOLDER/track/CELL/RUN. Epochs before an interruption are told again, since a tracker may start anew.
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
    return epoch_scalars(record.epochs[-1]) | (_accuracy_scalars(record.accuracy) if record.accuracy else {})


def epoch_scalars(row: Epoch) -> dict[str, float]:
    """The figures of an epoch, by name."""
    own = {"train/loss": row.train_loss, "train/learning_rate": row.learning_rate, "train/seconds": row.seconds}
    return own | (_accuracy_scalars(row.evaluation) if row.evaluation else {})


def _accuracy_scalars(counts: Accuracy) -> dict[str, float]:
    part = counts.split
    return {f"{part}/top1": counts.top1, f"{part}/top5": counts.top5, f"{part}/loss": counts.loss}
