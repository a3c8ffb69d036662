"""What more processes bring: strong and weak efficiency, and the share of communication."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results.interval import Estimate
from bench.results.verdict import chained_ratio
from reports.chart.figure import (
    Chart,
    Figure,
    draw_line,
    draw_reference,
    error_bars,
    label_of,
)
from reports.chart.palette import HUES, SHAPES, Mark
from reports.estimate import has_interval
from reports.naming import Names, name_apart
from reports.pairs import SPEEDS
from reports.ranking import Entry, Group
from reports.view import View

SCALING = Chart("scaling", "Scaling")
Kind = Literal["strong", "weak"]
BATCHES: dict[Kind, str] = {
    "strong": "the processes share one batch of the same size",
    "weak": "each process has a batch of the same size",
}
MAX_SENTENCE = 200  # characters of a finding in a caption


@dataclass(frozen=True)
class Efficiency:
    """A model on `size` processes against `base`: percent of `size / base` times the rate.

    `names` are those of its series: no other of this kind has them.
    """

    names: Names
    kind: Kind
    base: int
    size: int
    rate: float  # images/s of all processes together
    percent: Estimate
    communication: Estimate | None  # percent of a step

    @property
    def sentence(self) -> str:
        """The finding in a line."""
        said = f"{self.names.title}: {self.kind} efficiency on {self.size} processes "
        said += f"against {self.base} is {_show_percent(self.percent)}"
        if self.communication:
            said += f", communication {_show_percent(self.communication)} of a step"
        return said


def _show_percent(number: Estimate) -> str:
    if not has_interval(number):
        return f"{number.value:.0f} %"
    return f"{number.value:.0f} % ({number.low:.0f} to {number.high:.0f})"


def efficiencies(groups: Sequence[Group]) -> list[Efficiency]:
    """Return the efficiency of every model that was measured with several numbers of processes.

    All else must agree, threads per process included. The fewest processes are the base; of several
    runs with as many the first one is.
    """
    found = []
    for kind in BATCHES:
        series = _series(kind, groups)
        called = name_apart([(rows[0].model, rows[0].run.name) for rows in series])
        for names, (base, *others) in zip(called, series, strict=True):
            more = [entry for entry in others if _num_processes(entry) > _num_processes(base)]
            found += [_efficiency(names, kind, base, entry) for entry in more]
    return found


def _series(kind: Kind, groups: Sequence[Group]) -> list[list[Entry]]:
    """Return the rows that differ in the number of processes alone, the fewest first."""
    series: dict[str, list[Entry]] = {}
    for group in groups:
        for entry in group.entries:
            if SPEEDS[0] in entry.numbers:
                series.setdefault(_what_agrees(kind, group, entry), []).append(entry)
    ordered = [sorted(rows, key=_num_processes) for rows in series.values()]
    return [rows for rows in ordered if _num_processes(rows[0]) < _num_processes(rows[-1])]


def _num_processes(entry: Entry) -> int:
    return entry.record.world_size


def _what_agrees(kind: Kind, group: Group, entry: Entry) -> str:
    """Return what is the same in a series: all but the processes and, if weak, the whole batch."""
    size = entry.record.world_size
    varying = ("world_size", "batch_size", "machine")
    fixed = {name: value for name, value in group.key.items() if name not in varying}
    batch = entry.record.batch_size if kind == "strong" else entry.record.batch_size / size
    # A GPU's machine says how many there are; without that number it must be the same.
    machine = str(group.key["machine"]).removeprefix(f"{size} x ")
    return repr((entry.model, machine, batch, fixed))


def _efficiency(names: Names, kind: Kind, base: Entry, entry: Entry) -> Efficiency:
    few, many = _num_processes(base), _num_processes(entry)
    rate, base_rate = entry.numbers[SPEEDS[0]], base.numbers[SPEEDS[0]]
    # The two were measured in runs of their own, so the ratio holds the spread of both.
    longest = 1 / base_rate.low if base_rate.low > 0 else math.inf
    inverse = Estimate(1 / base_rate.value, 1 / base_rate.high, longest)
    ratio, _ = chained_ratio(rate, inverse)
    percents = [100 * end / (many / few) for end in ratio]
    communication = entry.numbers.get("communication_percent")
    return Efficiency(names, kind, few, many, rate.value, Estimate(*percents), communication)


def draw_scaling(view: View) -> list[Figure]:
    """Return efficiency against the number of processes, strong and weak."""
    found = efficiencies(view.groups)
    figures = []
    for kind in BATCHES:
        of_kind = [each for each in found if each.kind == kind]
        if of_kind:
            figures.append(_draw_kind(kind, of_kind))
    return figures


def _draw_kind(kind: Kind, found: Sequence[Efficiency]) -> Figure:
    traces = []
    series: dict[Names, list[Efficiency]] = {}
    for each in found:
        series.setdefault(each.names, []).append(each)
    for number, (names, members) in enumerate(series.items()):
        xs = [each.size for each in members]
        percents = [each.percent for each in members]
        ys = [percent.value for percent in percents]
        # Models, not families: each has a mark of its own here.
        mark = Mark(number % len(HUES["light"]), number % len(SHAPES))
        trace = draw_line(label_of(names), xs, ys, [names.full] * len(xs), mark)
        traces.append(trace | {"error_y": error_bars(percents)})
    sizes = sorted({each.size for each in found})
    traces.append(draw_reference("100 %", [sizes[0], sizes[-1]], [100, 100]))
    worst = min(found, key=lambda each: each.percent.value)
    name = kind.capitalize()
    caption = f"{worst.sentence[:MAX_SENTENCE]}. {name}: {BATCHES[kind]}. Dotted: no loss."
    layout = {"xaxis": {"dtick": 1}}
    key = f"scaling-{kind}"
    return Figure(
        SCALING, caption, traces, "Processes", "Efficiency (%)", layout, key=key, tab=name
    )
