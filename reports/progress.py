"""Read how far runs have got, from the records that they write as they go."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from bench.results.record import RunRecord
from bench.results.storage import read
from reports.runs import is_run_folder
from reports.verdict_text import ENDINGS

# A cell that is `started` but hasn't been written for as long was killed without leaving a status.
FRESH_SECONDS = 900
WIDTH, HEIGHT = 160, 50  # of the small chart, in its own units: the style sheet scales it
MAX_CACHED_RECORDS = 4096  # some 40 runs of 100 cells


@dataclass(frozen=True)
class Curves:
    """Validation curves of a run, each as the points of a polyline, and their label."""

    lines: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Progress:
    """How far a run has got: its records, the cells it will have, and its unreadable files."""

    name: str
    folder: Path
    records: tuple[RunRecord, ...]
    num_cells: int
    num_faults: int
    written: float  # when the newest record was written, in seconds since 1970

    @property
    def address(self) -> str:
        """Return the path of the run's report on this server."""
        return f"/run/{quote(self.name, safe='')}"

    @property
    def is_training(self) -> bool:
        """Return whether a cell is being trained."""
        is_started = any(record.status == "started" for record in self.records)
        return is_started and time.time() - self.written < FRESH_SECONDS

    @property
    def share_done(self) -> float:
        """Return the share of the cells that have ended, well or not."""
        done = [record for record in self.records if record.status != "started"]
        return len(done) / max(1, self.num_cells)

    @property
    def state(self) -> str:
        """Return the run's state in words: `training: 3 of 8 cells, 1 out of memory`."""
        count = Counter(record.status for record in self.records)
        parts = [f"{count['ok']} of {self.num_cells} cells"]
        for status, num_cells in count.items():
            if status not in ("ok", "started"):
                parts.append(f"{num_cells} {ENDINGS[status]}")
        if self.num_faults:
            parts.append(f"{self.num_faults} unreadable")
        text = ", ".join(parts)
        return f"training: {text}" if self.is_training else text

    @property
    def now(self) -> list[str]:
        """Describe each cell in training in one line."""
        return [_describe(record) for record in self.records if record.status == "started"]

    @property
    def curves(self) -> Curves | None:
        """Return validation top-1 over training time, a line a cell.

        None as long as no cell has been evaluated twice: one point is no curve.
        """
        curves = []
        for record in self.records:
            curve = [(row.seconds, row.evaluation.top1) for row in record.epochs if row.evaluation]
            if len(curve) > 1:
                curves.append(curve)
        if not curves:
            return None
        # Curves are divided by these, and may be 0 throughout.
        points = list(chain.from_iterable(curves))
        longest = max(seconds for seconds, _ in points) or 1.0
        highest = max(top1 for _, top1 in points) or 1.0
        lines = tuple(_polyline(curve, longest, highest) for curve in curves)
        noun = "curve" if len(curves) == 1 else "curves"
        return Curves(lines, f"{len(curves)} {noun}, highest {highest:.1f} %")


def _describe(record: RunRecord) -> str:
    if not record.epochs:
        return f"{record.cell}: just started"
    last = record.epochs[-1]
    text = f"{record.cell}: epoch {last.epoch + 1}, {last.seconds:.0f} s"
    text += f", loss {last.train_loss:.2f}"
    if last.evaluation:
        text += f", {last.evaluation.top1:.1f} % on validation"
    return text


def _polyline(curve: Sequence[tuple[float, float]], longest: float, highest: float) -> str:
    """Return a curve as an SVG polyline's points; y runs downwards there."""
    points = []
    for seconds, top1 in curve:
        x = WIDTH * seconds / longest
        y = HEIGHT * (1 - top1 / highest)
        points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)


def list_runs(root: Path) -> dict[str, Path]:
    """Return the run folders in `root` by name, sorted, without links that lead out of `root`."""
    # A link in `root` may lead to a folder that isn't meant to be shown.
    inside = root.resolve()
    folders = sorted(child for child in root.iterdir() if is_run_folder(child))
    return {folder.name: folder for folder in folders if folder.resolve().is_relative_to(inside)}


def read_progress(folder: Path) -> Progress:
    """Read how far a run has got. Records that can't be read are counted."""
    paths = sorted((folder / "cells").glob("*/record.json"))
    records, num_faults, written = [], 0, 0.0
    for path in paths:
        try:
            changed = path.stat().st_mtime_ns
            records.append(_read_record(path, changed))
        except (OSError, ValueError):
            num_faults += 1  # torn, or gone since the folder was listed
        else:
            written = max(written, changed / 1e9)
    # Never fewer than there are, whatever the configuration says.
    num_cells = max(_requested_cells(folder), len(paths))
    return Progress(folder.name, folder, tuple(records), num_cells, num_faults, written)


@lru_cache(maxsize=MAX_CACHED_RECORDS)
def _read_record(path: Path, changed: int) -> RunRecord:
    """Read a record again only when its file has changed: `changed` is part of the cache's key."""
    return read(path, RunRecord)


def _requested_cells(folder: Path) -> int:
    """Return how many cells a run was asked for; 0 if its `config.json` doesn't say."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return len(config["models"]) * len(config.get("seeds") or [0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
