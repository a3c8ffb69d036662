"""Read run folders as they are on disk.

A run is its records, its comparisons and its predictions. A file that can't be read is kept as a
`Fault`, so that a torn file costs its own row and not the whole page.
"""

from collections import ChainMap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.results import array_file
from bench.results.array_file import UNREADABLE
from bench.results.look import FILE, DataLook, read_look
from bench.results.record import Comparison, RunRecord
from bench.results.reliability import image_scores
from bench.results.storage import (
    Written,
    comparison_paths,
    find_run_folders,
    read,
    requested_models,
    sort_key,
)

Value = TypeVar("Value")

# Of `predictions.npz`, beside the classes; older versions wrote fewer of them.
SAID_OF_EACH = ("confidence", "loss", "brier", "set_size", "in_set", "has_double", "row")


@dataclass(frozen=True)
class Cell:
    """One record and the folder it lies in."""

    record: RunRecord
    folder: Path

    @cached_property
    def answers(self) -> dict[str, NDArray[Any]]:
        """Read what the model said of each test image, (n,), by array of `predictions.npz`.

        Left out is what older versions didn't write, and what isn't a number of each image. Empty
        if nothing can be read, or if it doesn't fit the record.
        """
        accuracy, classes = self.record.accuracy, len(self.record.data.class_names)
        if accuracy is None:
            return {}
        said = self.arrays("predictions.npz", ("label", "predicted"), optional=SAID_OF_EACH)
        said = {name: a for name, a in said.items() if _has_numbers(a, accuracy.num_images)}
        if not {"label", "predicted"} <= said.keys():
            return {}
        for name in ("label", "predicted"):
            # A negative class would be counted as the last one, and a larger one would fail later.
            if said[name].dtype.kind not in "iu" or not is_below(said[name], classes):
                return {}
        # Files hold small integers: a product of two classes would overflow them.
        return said | {name: said[name].astype(np.int64) for name in ("label", "predicted")}

    @cached_property
    def image_scores(self) -> dict[str, NDArray[np.float64]]:
        """Return numbers of each image by column, see `bench.results.reliability`."""
        return image_scores(self.answers)

    def arrays(
        self, name: str, keys: Collection[str], *, optional: Collection[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Read arrays of a file beside the record, such as `predictions.npz`.

        Return all of `keys` and what the file has of `optional`, or nothing if one of them can't be
        read.
        """
        return read_arrays(self.folder / name, keys, optional=optional)


def read_arrays(
    path: Path, keys: Collection[str], *, optional: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read arrays of an archive: all of `keys` and what it has of `optional`, or nothing."""
    try:
        return array_file.read_arrays(path, keys, optional=optional)
    except UNREADABLE:
        return {}


def is_below(numbers: NDArray[Any], limit: int) -> bool:
    """Return whether all numbers are from 0 on and stay below a limit."""
    return bool((numbers >= 0).all() and (numbers < limit).all())


def _has_numbers(array: NDArray[Any], num_images: int) -> bool:
    """Return whether an array has a finite number for each image."""
    if array.dtype.kind not in "biuf" or array.shape != (num_images,):
        return False
    return bool(np.isfinite(array).all())


@dataclass(frozen=True)
class Run:
    """One run's folder, its cells in the order in which the models were requested.

    `comparison` shows every model, `comparisons` are the files it was joined from: one for each
    launch and group.
    """

    name: str
    folder: Path
    cells: tuple[Cell, ...]
    comparison: Comparison | None
    comparisons: tuple[Comparison, ...] = ()

    @cached_property
    def look(self) -> DataLook | None:
        """Return the look at the run's data, or None if it has none that can be read."""
        try:
            return read_look(self.folder / FILE)
        except ValueError:
            return None

    @property
    def rounds(self) -> tuple[Comparison, ...]:
        """Return the comparisons whose rounds can be paired, each on its own."""
        if self.comparisons or self.comparison is None:
            return self.comparisons
        return (self.comparison,)


@dataclass(frozen=True)
class Fault:
    """A file that was skipped, and the reason in one line."""

    path: Path
    reason: str

    @property
    def name(self) -> str:
        """Return the last four parts of the path: enough to find it, and no home folder."""
        return "/".join(self.path.parts[-4:])


@dataclass(frozen=True)
class Source:
    """Everything a report is made from."""

    runs: tuple[Run, ...]
    faults: tuple[Fault, ...]

    @property
    def cells(self) -> Iterator[tuple[Run, Cell]]:
        """Iterate over all cells, each with its run."""
        for run in self.runs:
            for cell in run.cells:
                yield run, cell


def encode_page(page: str) -> bytes:
    """Encode a page; what no text is, such as the bytes of a folder's name, is spelled out."""
    return page.encode("utf-8", "backslashreplace")


def read_source(paths: Sequence[Path]) -> Source:
    """Read run folders, or folders of run folders.

    Raise ValueError for a path that doesn't exist or holds no readable record.
    """
    runs: list[Run] = []
    faults: list[Fault] = []
    for path in paths:
        found = [_read_run(folder, faults) for folder in find_run_folders(path)]
        with_records = [run for run in found if run.cells]
        if not with_records:
            reason = f" ({faults[-1].reason})" if faults else ""
            raise ValueError(
                f"{path}: no record to report{reason}; "
                "a run folder holds cells/MODEL-sSEED/record.json"
            )
        runs += with_records
    return Source(_number_equal_names(runs), tuple(faults))


def _read_run(folder: Path, faults: list[Fault]) -> Run:
    cells = []
    for path in sorted((folder / "cells").glob("*/record.json")):
        record = _read_or_note(path, RunRecord, faults)
        if record is not None:
            cells.append(Cell(record, path.parent))
    requested = requested_models(folder)
    position = {model: place for place, model in enumerate(requested)}

    cells.sort(key=lambda cell: sort_key(cell.record.key, position))
    files = [_read_or_note(path, Comparison, faults) for path in comparison_paths(folder)]
    comparisons = tuple(each for each in files if each is not None)
    name = cells[0].record.run if cells else folder.name
    return Run(name, folder, tuple(cells), join_comparisons(comparisons), comparisons)


def join_comparisons(comparisons: Sequence[Comparison]) -> Comparison | None:
    """Return one comparison that shows every model, or None without any.

    Where several launches measured a model, the first of them is shown.
    """
    if len(comparisons) < 2:
        return comparisons[0] if comparisons else None
    models = chain.from_iterable(each.models for each in comparisons)
    measurements = _first_wins([each.measurements for each in comparisons])
    sweeps = _first_wins([each.sweeps for each in comparisons])
    sweep_ended = _first_wins([each.sweep_ended for each in comparisons])
    missing = _first_wins([each.missing for each in comparisons])
    return replace(
        comparisons[0],
        models=tuple(dict.fromkeys(models)),  # each once, in the order of first appearance
        measurements=measurements,
        sweeps=sweeps,
        sweep_ended=sweep_ended,
        missing=missing,
    )


def _first_wins(mappings: Sequence[dict[str, Value]]) -> dict[str, Value]:
    """Merge mappings; where several have a key, the first one's value stands."""
    return dict(ChainMap(*mappings))


def _read_or_note(path: Path, kind: type[Written], faults: list[Fault]) -> Written | None:
    """Read a record or a comparison; if it can't be read, add a fault and return None."""
    try:
        return read(path, kind)
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ").replace("\n", " ")
        faults.append(Fault(path, reason))
        return None


def _number_equal_names(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Number runs of the same name, `a`, `a (2)`, so that no row of the page stands for two."""
    taken: set[str] = set()
    numbered = []
    for run in runs:
        name, count = run.name, 1
        while name in taken:  # also where a run is called `a (2)` by itself
            count += 1
            name = f"{run.name} ({count})"
        taken.add(name)
        numbered.append(replace(run, name=name))
    return tuple(numbered)
