"""Run folders as they are on disk.

Records, comparison and predictions, and what could not be read and why.
"""

import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.record import Comparison, RunRecord
from bench.results.storage import Written, comparison_paths, read, requested_models


@dataclass(frozen=True)
class Cell:
    """One record and the folder that it lies in."""

    record: RunRecord
    folder: Path

    def arrays(self, name: str, keys: Collection[str]) -> dict[str, NDArray[Any]]:
        """Arrays of a file beside the record, such as `predictions.npz`.

        Empty unless all of `keys` can be read.
        """
        try:
            with (self.folder / name).open(
                "rb"
            ) as file:  # opened here: numpy leaves a torn one open
                arrays = np.load(file, allow_pickle=False)
                return {key: arrays[key] for key in keys}
        except (
            OSError,
            ValueError,
            IndexError,
            EOFError,
            KeyError,
            zipfile.BadZipFile,
            zlib.error,
        ):
            return {}


@dataclass(frozen=True)
class Run:
    """One run's folder: its cells in the order that its models were asked for."""

    name: str
    folder: Path
    cells: tuple[Cell, ...]
    comparison: Comparison | None
    comparisons: tuple[Comparison, ...] = ()  # of several launches or groups, each by itself

    @property
    def rounds(self) -> tuple[Comparison, ...]:
        """Every comparison whose rounds can be paired."""
        return self.comparisons or ((self.comparison,) if self.comparison else ())


@dataclass(frozen=True)
class Fault:
    """A file that was skipped, and why, in one line."""

    path: Path
    reason: str

    @property
    def name(self) -> str:
        """The file's last four parts: enough to find it, nothing of where the runs lie."""
        return "/".join(self.path.parts[-4:])


@dataclass(frozen=True)
class Source:
    """All that a report is made from."""

    runs: tuple[Run, ...]
    faults: tuple[Fault, ...]

    @property
    def cells(self) -> Iterator[tuple[Run, Cell]]:
        """Every cell with its run."""
        return ((run, cell) for run in self.runs for cell in run.cells)


def read_source(paths: Sequence[Path]) -> Source:
    """Read run folders, or folders of run folders.

    ValueError for a path that isn't there or holds no record.
    """
    runs: list[Run] = []
    faults: list[Fault] = []
    for path in paths:
        found = run_folders(path)
        before = sum(len(run.cells) for run in runs)
        runs += [_read_run(folder, faults) for folder in found]
        if sum(len(run.cells) for run in runs) == before:
            reason = f" ({faults[-1].reason})" if faults else ""
            raise ValueError(
                f"{path}: no record to report{reason}; a run's folder has cells/MODEL-sSEED/record.json"
            )
    return Source(_with_own_names([run for run in runs if run.cells]), tuple(faults))


def run_folders(path: Path) -> list[Path]:
    """The folder itself if it is a run's, else the runs' folders in it, by name.

    ValueError if it isn't a folder.
    """
    if not path.is_dir():
        near = (
            [p.name for p in sorted(path.parent.glob("*/")) if (p / "cells").is_dir()]
            if path.parent.is_dir()
            else []
        )
        there = f"; there are {', '.join(near[-3:])}" if near else ""
        raise ValueError(f"{path}: no such folder{there}")
    if (path / "cells").is_dir():
        return [path]
    return sorted(child for child in path.iterdir() if (child / "cells").is_dir())


def _read_run(folder: Path, faults: list[Fault]) -> Run:
    cells = []
    for path in sorted((folder / "cells").glob("*/record.json")):
        record = _read_or_note(path, RunRecord, faults)
        if record is not None:
            cells.append(Cell(record, path.parent))
    names = {name: position for position, name in enumerate(requested_models(folder))}
    cells.sort(key=lambda c: (names.get(c.record.model, len(names)), c.record.model, c.record.seed))
    read_all = [_read_or_note(path, Comparison, faults) for path in comparison_paths(folder)]
    compared = tuple(comparison for comparison in read_all if comparison is not None)
    name = cells[0].record.run if cells else folder.name
    return Run(name, folder, tuple(cells), join_comparisons(compared), compared)


def join_comparisons(compared: Sequence[Comparison]) -> Comparison | None:
    """One comparison that shows every model.

    Of several launches the first, of several groups all of them.
    """
    if len(compared) < 2:
        return compared[0] if compared else None
    first = compared[0]
    every = list(reversed(compared))
    return replace(
        first,
        models=tuple(dict.fromkeys(model for each in compared for model in each.models)),
        measurements={model: rows for each in every for model, rows in each.measurements.items()},
        sweeps={model: rows for each in every for model, rows in each.sweeps.items()},
        sweep_ended={model: why for each in every for model, why in each.sweep_ended.items()},
        missing={name: why for each in every for name, why in each.missing.items()},
    )


def _read_or_note(path: Path, kind: type[Written], faults: list[Fault]) -> Written | None:
    try:
        return read(path, kind)
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ").replace("\n", " ")
        faults.append(Fault(path, reason))
        return None


def _with_own_names(runs: list[Run]) -> tuple[Run, ...]:
    """Tell runs of the same name apart by a number, so that no row stands for two."""
    seen: dict[str, int] = {}
    named = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        name = run.name if seen[run.name] == 1 else f"{run.name} ({seen[run.name]})"
        named.append(replace(run, name=name))
    return tuple(named)
