"""How a run's best model is put to use: its commands, for the page and the terminal."""

import shlex
from pathlib import Path
from typing import NamedTuple

from reports.ranking import Entry
from reports.runs import Cell, Run, Source

WEIGHTS = "model.safetensors"  # which published runs leave out


class Usage(NamedTuple):
    """The model of a run that is best on validation, and the commands that use it."""

    model: str
    commands: tuple[str, ...]


def find_usage(source: Source, *, private: bool = False) -> Usage | None:
    """Return how the best model of a single run is used; None where no weights are kept.

    A page that others may read names a run by its folder's name alone, unless it lies below the
    folder in which it was made; `private` names it as it is.
    """
    if len(source.runs) != 1:
        return None
    (run,) = source.runs
    cells = [cell for cell in run.cells if (cell.folder / WEIGHTS).is_file()]
    if not cells:
        return None
    best = max(cells, key=lambda cell: cell.record.validation_top1 or 0.0)
    folder = run.folder if private or not run.folder.is_absolute() else Path(run.folder.name)
    return Usage(best.record.model, _list_commands(best, run, shlex.quote(str(folder))))


def commands_of(entry: Entry) -> tuple[str, ...]:
    """Return the commands that use a row's first finished seed; none where no weights are kept."""
    for cell in entry.finished[:1]:
        if (cell.folder / WEIGHTS).is_file():
            return _list_commands(cell, entry.run, shlex.quote(str(entry.run.folder)))
    return ()


def _list_commands(cell: Cell, run: Run, folder: str) -> tuple[str, ...]:
    model = shlex.quote(cell.record.model)
    seeds = {each.record.seed for each in run.cells if each.record.model == cell.record.model}
    seed = f" --seed {cell.record.seed}" if len(seeds) > 1 else ""
    return (
        f"python -m bench.predict IMAGE --run {folder} --model {model}{seed}",
        f"python -m bench.export {model} --run {folder}{seed} --onnx",
        f"python -m bench.serve {folder}",
    )
