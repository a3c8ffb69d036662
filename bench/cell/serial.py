"""The plain executors: cells one after another in this process, or kept as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cell.display import Display
from bench.cell.open_run import Cell
from bench.cell.record_writer import record_path
from bench.cell.run_cell import run_cell
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.train.build import RunContext


@dataclass(frozen=True)
class SerialExecutor:
    """Runs the cells one after another in this process and its world."""

    context: RunContext

    def run(self, cells: Sequence[Cell]) -> list[RunRecord]:
        """Run the cells; Interrupted ends the first one that hears of a signal."""
        display = Display(self.context.runtime, len(cells))
        return [run_cell(cell, self.context, display) for cell in cells]


@dataclass(frozen=True)
class KeepingExecutor:
    """Keeps every cell as an earlier launch left it, whatever it says: later ones only measure."""

    context: RunContext

    def run(self, cells: Sequence[Cell]) -> list[RunRecord]:
        """Read the records of the cells."""
        runtime = self.context.runtime
        display = Display(runtime, len(cells))
        records = []
        for cell in cells:
            record = runtime.on_main(read, record_path(cell, self.context), RunRecord)
            display.show_kept(record)
            records.append(record)
        return records
