"""Read how far runs have got, from the records that they write as they go."""

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from bench.results.record import RunRecord
from bench.results.storage import is_run_folder, read, read_config
from reports.verdict_text import ENDINGS

# A cell that is `started` but hasn't been written for as long was killed without leaving a status.
FRESH_SECONDS = 900
WIDTH, HEIGHT = 160, 50  # of the small chart, in its own units: the style sheet scales it
MAX_POINTS = 40  # of a curve: more can't be told apart in so small a chart

Curve = tuple[tuple[float, float], ...]  # seconds and top-1 of each evaluation
Stamp = tuple[str, int, int]  # a file's path, when it was changed (in ns), and its bytes


@dataclass(frozen=True)
class Curves:
    """Validation curves of a run, each as the points of a polyline, and their label."""

    lines: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class CellProgress:
    """What the list shows of a record; a whole record would be kept for each cell of all runs."""

    status: str
    now: str  # how far a cell in training is, in one line
    curve: Curve


@dataclass(frozen=True)
class Progress:
    """How far a run has got: its cells, how many it will have, and its unreadable files.

    `fault` says what else is wrong with the run.
    """

    name: str
    cells: tuple[CellProgress, ...] = ()
    num_cells: int = 0
    num_faults: int = 0
    written: float = 0.0  # when the newest record was written, in seconds since 1970
    fault: str = ""

    @property
    def address(self) -> str:
        """Return the path of the run's report on this server."""
        return f"/run/{quote(os.fsencode(self.name), safe='')}"

    @property
    def is_training(self) -> bool:
        """Return whether a cell is being trained."""
        is_started = any(cell.status == "started" for cell in self.cells)
        return is_started and time.time() - self.written < FRESH_SECONDS

    @property
    def share_done(self) -> float:
        """Return the share of the cells that have ended, well or not."""
        done = [cell for cell in self.cells if cell.status != "started"]
        return len(done) / max(1, self.num_cells)

    @property
    def state(self) -> str:
        """Return the run's state in words: `training: 3 of 8 cells, 1 out of memory`."""
        if self.fault:
            return self.fault
        text = self._count
        return f"training: {text}" if self.is_training else text

    @cached_property
    def _count(self) -> str:
        count = Counter(cell.status for cell in self.cells)
        parts = [f"{count['ok']} of {self.num_cells} cells"]
        for status, num_cells in count.items():
            if status not in ("ok", "started"):
                parts.append(f"{num_cells} {ENDINGS[status]}")
        if self.num_faults:
            parts.append(f"{self.num_faults} unreadable")
        return ", ".join(parts)

    @property
    def now(self) -> list[str]:
        """Describe each cell in training in one line."""
        return [cell.now for cell in self.cells if cell.status == "started"]

    @cached_property
    def curves(self) -> Curves | None:
        """Return validation top-1 over training time, a line a cell.

        None as long as no cell has been evaluated twice: one point is no curve.
        """
        curves = [cell.curve for cell in self.cells if len(cell.curve) > 1]
        if not curves:
            return None
        # Curves are divided by these, and may be 0 throughout.
        points = list(chain.from_iterable(curves))
        longest = max(seconds for seconds, _ in points) or 1.0
        highest = max(top1 for _, top1 in points) or 1.0
        lines = tuple(_polyline(curve, longest, highest) for curve in curves)
        noun = "curve" if len(curves) == 1 else "curves"
        return Curves(lines, f"{len(curves)} {noun}, highest {highest:.1f} %")


class ProgressReader:
    """Reads how far the runs of a folder have got, each file again only when it has changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[list[Stamp], Progress]] = {}
        self._cells: dict[str, dict[Stamp, CellProgress | None]] = {}

    def read_all(self) -> list[Progress]:
        """Return the runs, the one that was written last first."""
        folders = list_runs(self.root)
        runs = [self._read(name, folder) for name, folder in folders.items()]
        for gone in list(self._known.keys() - folders.keys()):
            self._known.pop(gone, None)
            self._cells.pop(gone, None)
        return sorted(runs, key=lambda run: run.written, reverse=True)

    def _read(self, name: str, folder: Path) -> Progress:
        try:
            return self._read_changed(name, folder)
        except Exception as error:
            # Whatever one folder holds, the others are listed.
            return Progress(name, fault=f"can't be read ({type(error).__name__}: {error})"[:200])

    def _read_changed(self, name: str, folder: Path) -> Progress:
        records = _record_stamps(folder)
        stamps = [*records, *_stamp(f"{folder}/config.json")]
        known = self._known.get(name)
        if known and known[0] == stamps:
            return known[1]
        before = self._cells.get(name, {})
        cells = {}
        for stamp in records:
            cells[stamp] = before[stamp] if stamp in before else _read_cell(Path(stamp[0]))
        progress = _make_progress(name, folder, cells)
        self._cells[name] = cells
        self._known[name] = stamps, progress
        return progress


def _make_progress(name: str, folder: Path, cells: dict[Stamp, CellProgress | None]) -> Progress:
    readable = {stamp: cell for stamp, cell in cells.items() if cell is not None}
    written = max((changed for _, changed, _ in readable), default=0)
    return Progress(
        name,
        tuple(readable.values()),
        # Never fewer than there are, whatever the configuration says.
        num_cells=max(_requested_cells(folder), len(cells)),
        num_faults=len(cells) - len(readable),
        written=written / 1e9,
    )


def _record_stamps(folder: Path) -> list[Stamp]:
    """Return the stamps of a run's records, sorted by path; none if the run has just gone."""
    try:
        names = sorted(os.listdir(folder / "cells"))  # noqa: PTH208
    except OSError:
        return []
    stamps: list[Stamp] = []
    for name in names:
        stamps += _stamp(f"{folder}/cells/{name}/record.json")
    return stamps


def _stamp(path: str) -> list[Stamp]:
    """Return what changes when a file does; nothing if it isn't there."""
    try:
        # Thousands of paths take too long as objects.
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return []
    return [(path, found.st_mtime_ns, found.st_size)]


def _read_cell(path: Path) -> CellProgress | None:
    """Return what the list shows of a record; None if it can't be read or doesn't hold."""
    try:
        record = read(path, RunRecord)
    except (OSError, ValueError):
        return None  # torn, or gone since the folder was listed
    curve = []
    for row in record.epochs:
        if row.evaluation:
            curve.append((row.seconds, row.evaluation.top1))
    return CellProgress(record.status, _describe(record), _thin_out(curve))


def _describe(record: RunRecord) -> str:
    if not record.epochs:
        return f"{record.cell}: just started"
    last = record.epochs[-1]
    text = f"{record.cell}: epoch {last.epoch + 1}, {last.seconds:.0f} s"
    text += f", loss {last.train_loss:.2f}"
    if last.evaluation:
        text += f", {last.evaluation.top1:.1f} % on validation"
    return text


def _thin_out(curve: Sequence[tuple[float, float]]) -> Curve:
    """Return at most MAX_POINTS of a curve, evenly spaced, the first and the last among them."""
    if len(curve) <= MAX_POINTS:
        return tuple(curve)
    last = len(curve) - 1
    return tuple(curve[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS))


def _polyline(curve: Curve, longest: float, highest: float) -> str:
    """Return a curve as an SVG polyline's points; y runs downwards there."""
    points = []
    for seconds, top1 in curve:
        x = WIDTH * seconds / longest
        y = HEIGHT * (1 - top1 / highest)
        points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)


def list_runs(root: Path) -> dict[str, Path]:
    """Return the run folders in `root` by name, sorted, without links that lead out of `root`."""
    inside = root.resolve()
    runs = {}
    for child in sorted(root.iterdir()):
        # A link in `root` may lead to a folder that isn't meant to be shown.
        leads_out = child.is_symlink() and not child.resolve().is_relative_to(inside)
        if is_run_folder(child) and not leads_out:
            runs[child.name] = child
    return runs


def _requested_cells(folder: Path) -> int:
    """Return how many cells a run was asked for; 0 if its `config.json` doesn't say."""
    config = read_config(folder)
    models, seeds = config.get("models"), config.get("seeds") or [0]
    sizes, folds = config.get("images_per_class") or [0], config.get("folds") or 1
    lengths = [len(each) for each in (models, seeds, sizes) if isinstance(each, list)]
    return folds * math.prod(lengths) if len(lengths) == 3 and isinstance(folds, int) else 0
