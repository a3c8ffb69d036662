"""What more processes bring.

Strong and weak efficiency with intervals, and the share of communication.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results.interval import Estimate
from bench.results.verdict import chained_ratio
from reports.chart.figure import Figure, Trace, error_bars, ideal, label, line
from reports.chart.palette import Mark
from reports.pairs import SPEEDS
from reports.ranking import Entry, Group, has_interval

Kind = Literal["strong", "weak"]
KINDS: tuple[Kind, ...] = ("strong", "weak")
ABOUT = {"strong": "the same batch, shared", "weak": "the same batch for each process"}


@dataclass(frozen=True)
class Efficiency:
    """A model on `size` processes against `base`: percent of `size / base` times the rate."""

    model: str
    kind: Kind
    base: int
    size: int
    rate: float
    percent: Estimate
    communication: Estimate | None

    @property
    def sentence(self) -> str:
        """The finding in a line."""
        told = (
            f"{self.model}: {self.kind} efficiency on {self.size} processes against {self.base} is "
        )
        told += _told(self.percent)
        return told + (
            f", communication {_told(self.communication)} of a step" if self.communication else ""
        )


def _told(number: Estimate) -> str:
    if not has_interval(number):
        return f"{number.value:.0f} %"
    return f"{number.value:.0f} % ({number.low:.0f} to {number.high:.0f})"


def efficiencies(groups: Sequence[Group]) -> list[Efficiency]:
    """Every model that was measured in worlds of several sizes, all else alike, threads a process among it."""
    found = []
    for kind in KINDS:
        sets: dict[str, dict[int, Entry]] = {}
        for group in groups:
            for entry in group.entries:
                if SPEEDS[0] in entry.numbers:
                    sets.setdefault(_alike(kind, group, entry), {})[entry.record.world_size] = entry
        for worlds in sets.values():
            base, *others = sorted(worlds)
            found += [_efficiency(kind, worlds[base], worlds[size]) for size in others]
    return found


def _alike(kind: Kind, group: Group, entry: Entry) -> str:
    """What must agree in a series.

    Everything but the world, and for a weak one the batch of each process.
    """
    fixed = {
        name: value
        for name, value in group.key.items()
        if name not in ("world_size", "batch_size", "machine")
    }
    size = entry.record.world_size
    batch = entry.record.batch_size if kind == "strong" else entry.record.batch_size / size
    # A GPU's machine names how many there are; without that it must be the same.
    machine = str(group.key["machine"]).removeprefix(f"{size} x ")
    return repr((entry.model, machine, batch, fixed))


def _efficiency(kind: Kind, base: Entry, entry: Entry) -> Efficiency:
    low, high = base.record.world_size, entry.record.world_size
    ours, theirs = entry.numbers[SPEEDS[0]], base.numbers[SPEEDS[0]]
    inverse = Estimate(
        1 / theirs.value, 1 / theirs.high, 1 / theirs.low if theirs.low > 0 else float("inf")
    )
    ratio, _ = chained_ratio(ours, inverse)
    percent = Estimate(*(100 * x / (high / low) for x in ratio))
    communication = entry.numbers.get("communication_percent")
    return Efficiency(entry.model, kind, low, high, ours.value, percent, communication)


def scaling(groups: Sequence[Group]) -> list[Figure]:
    """Efficiency against the number of processes, strong and weak, with the line of 100 %."""
    found = efficiencies(groups)
    return [
        _figure(kind, [each for each in found if each.kind == kind])
        for kind in KINDS
        if _has(kind, found)
    ]


def _has(kind: Kind, found: Sequence[Efficiency]) -> bool:
    return any(each.kind == kind for each in found)


def _figure(kind: Kind, found: Sequence[Efficiency]) -> Figure:
    traces: list[Trace] = []
    for number, model in enumerate(dict.fromkeys(each.model for each in found)):
        own = [each for each in found if each.model == model]
        sizes, percent = [each.size for each in own], [each.percent for each in own]
        marked = Mark(number % 8, number % 10)
        trace = line(label(model), sizes, [p.value for p in percent], [model] * len(own), marked)
        traces.append(trace | {"error_y": error_bars(percent)})
    sizes = sorted({each.size for each in found})
    traces.append(ideal("100 %", [sizes[0], sizes[-1]], [100, 100]))
    worst = min(found, key=lambda each: each.percent.value)
    caption = f"{worst.sentence[:200]}. {kind.capitalize()}: {ABOUT[kind]}. Dotted: no loss."
    return Figure(
        f"scaling-{kind}",
        "scaling",
        "Scaling",
        kind.capitalize(),
        caption,
        tuple(traces),
        x="Processes",
        y="Efficiency (%)",
        layout={"xaxis": {"dtick": 1}},
    )
