"""Micro-benchmarks: what `./launch.sh micro` wrote, as a table, and one file against another."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.results.interval import Estimate, holm, median_interval
from bench.results.verdict import Verdict, chained_ratio, verdict
from zoo.terminal import show, visible

MS = 1e3  # in a second
HEADINGS = ("benchmark", "rounds", "median", "ratio")
WIDTH = 200  # characters of a table that isn't on a terminal
SHORTEST, LONGEST = 1e-12, 1e9  # seconds of a round that can have been measured
# What a file of something else leads to; a RecursionError is JSON in thousands of brackets.
NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class MicroFile:
    """One file of pytest-benchmark: seconds of every round, by the benchmark's full name."""

    name: str
    machine: str
    when: str
    commit: str
    seconds: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class MicroRow:
    """One benchmark in the last file; `ratio` is how many times as fast it is as in the one before.

    `ratio` and `judgement` are None where there is nothing to compare with.
    """

    name: str
    rounds: int
    milliseconds: Estimate
    ratio: Estimate | None = None
    judgement: Verdict | None = None

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Name, rounds, time with its interval, and ratio with its verdict."""
        time = f"{_show(self.milliseconds.value)} ms"
        if math.isfinite(self.milliseconds.high):
            time += f" ({_show(self.milliseconds.low)} to {_show(self.milliseconds.high)})"
        if self.ratio is None:
            return self.name, str(self.rounds), time, "new"
        ratio = f"{self.ratio.value:.3f}"
        if math.isfinite(self.ratio.high):
            ratio += f" ({self.ratio.low:.3f} to {self.ratio.high:.3f})"
        return self.name, str(self.rounds), time, f"{ratio} {self.judgement}"


def _show(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def read_micro(path: Path) -> MicroFile:
    """Read a file of pytest-benchmark.

    Raise ValueError in one line if it isn't one, or holds no rounds.
    """
    try:
        whole: Any = json.loads(path.read_bytes())
        seconds = {}
        for benchmark in whole["benchmarks"]:
            rounds = tuple(float(value) for value in benchmark["stats"]["data"])
            seconds[benchmark["fullname"]] = rounds
        commit = whole.get("commit_info") or {}
        commit_id = str(commit.get("id", ""))[:12]
        # The processor's name, else as much of the machine as pytest-benchmark knows.
        info = whole["machine_info"]
        brand = (info.get("cpu") or {}).get("brand_raw")
        machine = str(brand or info.get("processor") or info.get("machine", ""))
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    except NOT_OURS as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: not a file of `./launch.sh micro` ({cause})") from error
    if not any(seconds.values()):
        raise ValueError(f"{path}: no benchmark in it has any rounds")
    measured = {name: rounds for name, rounds in seconds.items() if rounds}
    for name, rounds in measured.items():
        if not all(SHORTEST <= each <= LONGEST for each in rounds):
            raise ValueError(f"{path}: {name} has rounds that are no times in seconds")
    return MicroFile(path.name, machine, str(whole.get("datetime", "")), commit_id, measured)


def _file_before(files: Sequence[MicroFile]) -> MicroFile | None:
    """Return the file that the last one is compared with; None if it is of another machine."""
    if len(files) < 2 or files[-2].machine != files[-1].machine:
        return None
    return files[-2]


def micro_rows(files: Sequence[MicroFile]) -> list[MicroRow]:
    """Return every benchmark of the last file, against the one before it on the same machine.

    The files' rounds are not paired, so a ratio holds the spread of both; verdicts are corrected
    for their number (Holm).
    """
    last, before = files[-1], _file_before(files)
    earlier = before.seconds if before else {}
    ratios: dict[str, Estimate] = {}
    p_values = []
    for name, seconds in last.seconds.items():
        if name in earlier:
            # How many times as fast: the time before over the time now.
            time, time_before = _milliseconds(seconds), _milliseconds(earlier[name])
            ratios[name], p = chained_ratio(time_before, _invert(time))
            p_values.append(p)
    adjusted = dict(zip(ratios, holm(p_values), strict=True))
    rows = []
    for name, seconds in last.seconds.items():
        ratio, judgement = ratios.get(name), None
        if ratio is not None:
            judgement = verdict(ratio.low, ratio.high, adjusted[name])
        rows.append(MicroRow(name, len(seconds), _milliseconds(seconds), ratio, judgement))
    return rows


def _milliseconds(seconds: Sequence[float]) -> Estimate:
    values = MS * np.asarray(seconds)
    return Estimate(float(np.median(values)), *median_interval(values))


def _invert(number: Estimate) -> Estimate:
    high = 1 / number.low if number.low > 0 else math.inf
    return Estimate(1 / number.value, 1 / number.high, high)


def describe_files(files: Sequence[MicroFile]) -> str:
    """Return what is compared with what, or why it isn't."""
    last, before = files[-1], _file_before(files)
    said = f"{last.name}: {last.machine}, {last.when[:16]}, commit {last.commit or 'unknown'}"
    if before is not None:
        said += f"; the ratio is how many times as fast it is as in {before.name}"
        return f"{said}, commit {before.commit or 'unknown'}."
    if len(files) > 1:
        other = files[-2]
        said += f". Not compared with {other.name}"
        said += f", which is of another machine ({other.machine})"
    return f"{said}."


def print_micro(files: Sequence[MicroFile]) -> None:
    """Print the table to standard output."""
    # Imported here: a page without micro-benchmarks doesn't need it.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in micro_rows(files):
        table.add_row(*map(visible, row.texts))
    # A file or a pipe has no width of its own; rich's 80 columns would break the names.
    width = None if sys.stdout.isatty() else WIDTH
    # No markup, emoji or highlighting: brackets and colons in a name are what they are.
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    show(describe_files(files))
    console.print(table)
