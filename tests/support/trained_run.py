"""Run folders with weights in them, as a run leaves them, without training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cell.open_run import Cell
from bench.cell.record_writer import begin_record, write_outcome
from bench.request.command_line import parse
from bench.results.record import CellKey, RunRecord
from bench.results.storage import cell_folder, write
from bench.train.build import Outcome, RunContext, assess, build_model
from tests.support.record_factory import ZOO, accuracy, epochs
from zoo.registry import resolve


def open_context(folder: Path, data: Any, runtime: Any, *words: str) -> RunContext:
    """Open a run of `data` at each model's own size, without a lock."""
    config = replace(parse(["--recipe", "smoke", *words]), image_size=None)
    return RunContext(config, data, runtime, folder, {})


def write_cell(
    context: RunContext, model: str = "lenet5", seed: int = 0, *, validation_top1: float = 50
) -> RunRecord:
    """Write a cell with the weights that its seed gives, evaluated as a run does; its record.

    What validation said at its end is made up.
    """
    spec = resolve(model)
    network = build_model(spec, seed, context)
    found, predictions = assess(network, spec, context, split="test")
    _, validated = assess(network, spec, context, split="validation")
    key = CellKey(model, seed)
    folder = cell_folder(context.folder, key)
    folder.mkdir(parents=True)
    outcome = Outcome(found, predictions, validated)
    (last,) = epochs(ZOO[0], seed, 1)
    record = replace(
        begin_record(Cell(key, spec), context),
        status="ok",
        accuracy=found,
        epochs=(replace(last, evaluation=accuracy(validation_top1, split="validation")),),
        checksums=write_outcome(folder, network, network.state_dict(), outcome, context.data),
    )
    write(folder / "record.json", record)
    return record
