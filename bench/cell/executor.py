"""Who runs the cells of a run: the seam between a run and the processes in which its cells train.

`bench/run.py` chooses an executor and gives it the cells; whichever it is, their records come back.
Another one is a class with `run`, an option, and a line in `choose_executor`. The idea is
submitit's (core/core.py, with local/debug.py as the one that runs jobs where it stands).

This file imports no torch: `prepare_executor` runs before torch is there.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bench.distributed.process import RELAUNCH, start_server
from bench.request.config import RunConfig
from bench.results.record import RunRecord

if TYPE_CHECKING:
    from bench.cell.open_run import Cell
    from bench.train.build import RunContext


class Executor(Protocol):
    """Runs the cells of a run, wherever that may be."""

    def run(self, cells: "Sequence[Cell]") -> list[RunRecord]:
        """Run the cells and return their records, in the order of the cells.

        A cell that fails is a record with its cause, which stands in the run's folder. Raises
        Interrupted when a signal came and every cell under way has written its checkpoint.
        """


def prepare_executor(config: RunConfig) -> None:
    """Start what an executor can do while this process imports torch, which takes seconds."""
    if config.pack:
        # torch itself brings in `torch._dynamo`, which takes seconds, when it counts a model or
        # builds an optimiser.
        start_server(["bench.cell.packed", "torch._dynamo"])


def choose_executor(context: "RunContext") -> Executor:
    """Return the executor that the request asks for."""
    # Imported here, since these import torch.
    from bench.cell.packed import PackedExecutor
    from bench.cell.serial import KeepingExecutor, SerialExecutor

    if RELAUNCH in os.environ:
        return KeepingExecutor(context)
    if context.config.pack:
        return PackedExecutor(context)
    return SerialExecutor(context)
