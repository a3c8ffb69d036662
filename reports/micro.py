"""Micro-benchmarks.

What `./launch.sh micro` wrote, a table of them, and two of them held against each other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.results.interval import Estimate, holm, median_interval
from bench.results.verdict import Verdict, chained_ratio, verdict

MS = 1e3


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
    """One benchmark: milliseconds in the last file, and how many times as fast that is as the file before it."""

    name: str
    rounds: int
    milliseconds: Estimate
    ratio: Estimate | None = None
    judgement: Verdict | None = None

    @property
    def words(self) -> tuple[str, str, str, str]:
        """Name, rounds, time with its interval, and the ratio with its verdict, as text."""
        time = f"{_number(self.milliseconds.value)} ms"
        if np.isfinite(self.milliseconds.high):
            time += f" ({_number(self.milliseconds.low)} to {_number(self.milliseconds.high)})"
        if self.ratio is None:
            return self.name, str(self.rounds), time, "new"
        span = (
            f" ({self.ratio.low:.3f} to {self.ratio.high:.3f})"
            if np.isfinite(self.ratio.high)
            else ""
        )
        return self.name, str(self.rounds), time, f"{self.ratio.value:.3f}{span} {self.judgement}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def read_micro(path: Path) -> MicroFile:
    """Read a file of pytest-benchmark.

    ValueError in one line if it isn't one, or holds no rounds.
    """
    try:
        whole: Any = json.loads(path.read_bytes())
        seconds = {
            each["fullname"]: tuple(float(value) for value in each["stats"]["data"])
            for each in whole["benchmarks"]
        }
        machine, commit = whole["machine_info"], whole.get("commit_info") or {}
        cpu = (
            (machine.get("cpu") or {}).get("brand_raw")
            or machine.get("processor")
            or machine.get("machine", "")
        )
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: is no file of `./launch.sh micro` ({type(error).__name__}: {error})"
        ) from error
    if not any(seconds.values()):
        raise ValueError(f"{path}: holds no benchmark's rounds")
    return MicroFile(
        path.name,
        str(cpu),
        str(whole.get("datetime", "")),
        str(commit.get("id", ""))[:12],
        {name: values for name, values in seconds.items() if values},
    )


def micro_rows(files: Sequence[MicroFile]) -> list[MicroRow]:
    """Every benchmark of the last file, against the one before it if that is of the same machine.

    The files' rounds are not paired, so a ratio holds the spread of both; verdicts are corrected
    for their number.
    """
    *earlier, last = files
    before = earlier[-1] if earlier and earlier[-1].machine == last.machine else None
    times = {name: _milliseconds(values) for name, values in last.seconds.items()}
    shared = [name for name in times if before and name in before.seconds]
    ratios = {
        name: chained_ratio(_milliseconds(before.seconds[name]), _inverse(times[name]))
        for name in shared
        if before
    }
    adjusted = dict(zip(shared, holm([ratios[name][1] for name in shared]), strict=True))
    return [
        MicroRow(
            name,
            len(last.seconds[name]),
            times[name],
            ratios[name][0],
            verdict(ratios[name][0].low, ratios[name][0].high, adjusted[name]),
        )
        if name in ratios
        else MicroRow(name, len(last.seconds[name]), times[name])
        for name in times
    ]


def _milliseconds(seconds: Sequence[float]) -> Estimate:
    values = MS * np.asarray(seconds)
    return Estimate(float(np.median(values)), *median_interval(values))


def _inverse(number: Estimate) -> Estimate:
    return Estimate(1 / number.value, 1 / number.high, 1 / number.low if number.low > 0 else np.inf)


def micro_about(files: Sequence[MicroFile]) -> str:
    """What is held against what, or why it isn't."""
    *earlier, last = files
    told = f"{last.name}: {last.machine}, {last.when[:16]}, commit {last.commit or 'unknown'}"
    if not earlier:
        return f"{told}."
    before = earlier[-1]
    if before.machine != last.machine:
        return f"{told}. Not held against {before.name}: that is of another machine ({before.machine})."
    return f"{told}; the ratio is how many times as fast as in {before.name}, commit {before.commit or 'unknown'}."


def micro_text(files: Sequence[MicroFile]) -> str:
    """The table for the terminal."""
    rows = [("benchmark", "rounds", "median", "ratio"), *(row.words for row in micro_rows(files))]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([micro_about(files), *lines])
