"""How the model to take is put to use: its commands, for the page and the terminal."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reports.choice_text import Question, answer
from reports.ranking import Entry, entries_of, groups_of
from reports.runs import Cell, Run, Source

WEIGHTS = "model.safetensors"  # which published runs leave out


class Usage(NamedTuple):
    """The model to take of a run, and the commands that use it."""

    model: str
    commands: tuple[str, ...]


def find_usage(source: Source, question: Question, *, private: bool = False) -> Usage | None:
    """Return how the model to take of a single run is used; None where no weights are kept.

    It is the first group's answer to the question. Of its seeds, and of all models where there is
    no answer, the best on validation is used. A page that others may read names a run by its
    folder's name alone, unless it lies below the folder in which it was made; `private` names it
    as it is.
    """
    if len(source.runs) != 1:
        return None
    (run,) = source.runs
    cells = _find_weights(run.cells)
    for group in groups_of(entries_of(source))[:1]:
        choice = answer(group, question).choice
        if choice is not None and choice.taken is not None:
            cells = _find_weights(group.entries[choice.taken].finished) or cells
    if not cells:
        return None
    best = max(cells, key=lambda cell: cell.record.validation_top1 or 0.0)
    folder = run.folder if private or not run.folder.is_absolute() else Path(run.folder.name)
    return Usage(best.record.model, _list_commands(best, run, shlex.quote(str(folder))))


def _find_weights(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if (cell.folder / WEIGHTS).is_file()]


def commands_of(entry: Entry) -> tuple[str, ...]:
    """Return the commands that use a row's first finished seed; none where no weights are kept."""
    for cell in _find_weights(entry.finished[:1]):
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
