"""Which model of a run is meant: the one that was named, or the best on validation. No torch."""

from pathlib import Path
from typing import NamedTuple

from bench.results.record import RunRecord
from bench.results.storage import read
from zoo.suggest import unknown

WEIGHTS = "model.safetensors"
EXPORT = "model.onnx"  # beside the weights, where an export goes that names no other place


class TrainedCell(NamedTuple):
    """A cell with a model to use: its folder and its record."""

    folder: Path
    record: RunRecord

    @property
    def validation_top1(self) -> float | None:
        """Return the top-1 at the end of training, in percent; None where validation had none."""
        return self.record.validation_top1


def list_cells(run: Path) -> list[TrainedCell]:
    """List the cells of a run whose weights or exports are there, the best on validation first.

    ValueError where there is no run, or none of its weights.
    """
    if not (run / "cells").is_dir():
        raise ValueError(f"--run {run}: holds no run")
    records = [
        TrainedCell(path.parent, read(path, RunRecord))
        for path in sorted((run / "cells").glob("*/record.json"))
    ]
    found = [
        cell
        for cell in records
        if cell.record.status == "ok"
        and any((cell.folder / name).is_file() for name in (WEIGHTS, EXPORT))
    ]
    if not found:
        raise ValueError(
            f"--run {run}: has no weights (a published run leaves them out); "
            "give the folder that its models were trained in"
        )
    return sorted(found, key=lambda cell: cell.validation_top1 or 0.0, reverse=True)


def find_cell(run: Path, model: str | None = None, seed: int | None = None) -> TrainedCell:
    """Find the cell of a run that is meant: what isn't named is the best on validation.

    ValueError names what the run has instead, and where validation can't choose.
    """
    cells = list_cells(run)
    models = list(dict.fromkeys(cell.record.model for cell in cells))
    if model is not None and model not in models:
        raise ValueError(f"--run {run}: {unknown('model', model, models)}")
    cells = [cell for cell in cells if model in (None, cell.record.model)]
    seeds = sorted({cell.record.seed for cell in cells})
    if seed is not None and seed not in seeds:
        allowed = ", ".join(map(str, seeds))
        raise ValueError(f"--seed {seed}: {run} has weights of seed {allowed}")
    cells = [cell for cell in cells if seed in (None, cell.record.seed)]
    if len(cells) > 1 and cells[0].validation_top1 is None:
        names = ", ".join(f"{cell.record.model} seed {cell.record.seed}" for cell in cells)
        raise ValueError(
            f"--run {run}: has no validation to choose by; give --model and --seed, of {names}"
        )
    return cells[0]
