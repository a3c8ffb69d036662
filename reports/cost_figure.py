"""Charts of what models cost: who beats whom, memory by kind, time to an accuracy, roofline, scaling."""

import math
import statistics
from collections.abc import Mapping, Sequence

from reports.column import BY_KEY, show
from reports.figure import Figure, Trace, bar, dots, ideal, label, line
from reports.pair import SPEEDS, Pair, Pairs
from reports.palette import Mark
from reports.standing import Entry, Group
from reports.words import ranked

MAX_MATRIX = 40  # rows of a matrix of pairs
THRESHOLDS = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)  # percent of validation top-1
FLOAT_BYTES = 4
WORK_OF_TRAINING = 6  # floating point operations of a training step for each multiply-add of a forward pass


def pair_matrix(group: Group, compared: Mapping[str, Pairs]) -> list[Figure]:
    """Every row against every other: ratios of rates and points of top-1, with the verdicts."""
    figures = []
    for column in ("top1", *SPEEDS):
        rows = [e for e in ranked(group, column) if compared[column].get(e.key)]
        if not 2 <= len(rows) <= MAX_MATRIX:
            continue
        figures.append(_matrix(rows, column, compared[column]))
    return figures


def _matrix(rows: Sequence[Entry], column: str, pairs: Pairs) -> Figure:
    points = column == "top1"
    held = [[pairs.get(base.key, {}).get(row.key) for base in rows] for row in rows]
    trace: Trace = {
        "type": "heatmap",
        "x": [label(entry.model) for entry in rows],
        "y": [label(entry.model) for entry in rows],
        "z": [[_strength(pair, points) for pair in line] for line in held],
        "text": [[_pair_text(pair, points) for pair in line] for line in held],
        "names": {"x": [entry.model for entry in rows], "y": [entry.model for entry in rows]},
        "shown": [[_pair_text(pair, points) for pair in line] for line in held],
        "diverging": True,
        "zmin": -1,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{y}<br>against %{x}: %{text}<extra></extra>",
    }
    if len(rows) <= 12:
        trace["texttemplate"] = "%{text}"
    decided = [pair for line in held for pair in line if pair and pair.judgement not in ("undecided", "same")]
    total = len(rows) * (len(rows) - 1) // 2
    what = "top-1 on the same images" if points else BY_KEY[column].title.lower() + " in the same rounds"
    caption = f"{len(decided) // 2} of {total} pairs can be told apart in {what}. Each row is held against each column."
    layout = {
        "yaxis": {"autorange": "reversed"},
        "xaxis": {"tickangle": -40},
        "rows": len(rows) + 3,
        "value": "Verdict",
    }
    return Figure(
        f"pair-{column}",
        "pair",
        "Who beats whom",
        BY_KEY[column].title,
        caption,
        (trace,),
        x="against",
        y="Model",
        layout=layout,
        wide=True,
    )


def _strength(pair: Pair | None, points: bool) -> float | None:
    """From -1 (beaten) over 0 (not told apart) to 1; None on the diagonal."""
    if pair is None:
        return None
    if pair.judgement in ("undecided", "same"):
        return 0.0
    size = pair.value / 20 if points else math.log2(pair.value) / 4
    return max(-1.0, min(1.0, math.copysign(0.25, size) + 0.75 * size))


def _pair_text(pair: Pair | None, points: bool) -> str:
    if pair is None:
        return ""
    sign = {"undecided": "?", "same": "="}.get(pair.judgement, "")
    return (f"{pair.value:+.1f}" if points else f"{pair.value:.3g}×") + (f" {sign}" if sign else "")


def memory(group: Group) -> list[Figure]:
    """What a training step must hold, by kind, worked out from the layers, and the peak that was measured."""
    rows = [e for e in ranked(group, "top1") or group.entries if e.record.layers and e.record.num_parameters]
    if not rows:
        return []
    weights = [FLOAT_BYTES * (e.record.num_parameters or 0) / 1e6 for e in rows]
    outputs = [sum(x.activation_bytes for x in e.record.layers) * e.record.batch_size / 1e6 for e in rows]
    parts = {"Weights": weights, "Gradients": weights, "Momentum": weights, "Activations": outputs}
    traces = [bar(name, values, rows, hue) for hue, (name, values) in enumerate(parts.items())]
    measured = [e for e in rows if "peak_memory_bytes" in e.numbers]
    if measured:
        peaks = [e.numbers["peak_memory_bytes"].value / 1e6 for e in measured]
        traces.append(dots("Measured peak", peaks, measured, 5))
    sums = [3 * w + o for w, o in zip(weights, outputs, strict=True)]
    most = max(range(len(rows)), key=lambda i: sums[i])
    kind = max(parts, key=lambda name: parts[name][most])
    caption = (
        f"{rows[most].model[:60]} needs most: {show(1e6 * sums[most], 'bytes')} by its layers, mostly {kind.lower()}. "
        "Bars are worked out (float32, one momentum, every layer's output kept); the mark is the measured peak."
    )
    layout = {"barmode": "stack", "yaxis": {"autorange": "reversed"}, "rows": len(rows)}
    return [Figure("memory", "memory", "Memory by kind", "", caption, tuple(traces), x="Memory (MB)", layout=layout)]


def time_to_accuracy(group: Group) -> list[Figure]:
    """Training seconds until a validation top-1 was first reached, the median over seeds that reached it."""
    rows = [e for e in ranked(group, "top1") if any(epoch.evaluation for c in e.finished for epoch in c.record.epochs)]
    reached = {t: [(s, e) for e in rows for s in seconds_to(e, t)] for t in THRESHOLDS}
    useful = [t for t in THRESHOLDS if len(reached[t]) >= max(1, min(2, len(rows)))][-3:]
    if not useful:
        return []
    traces = [
        dots(f"{t} %", [seconds for seconds, _ in reached[t]], [entry for _, entry in reached[t]], number)
        for number, t in enumerate(useful)
    ]
    top = useful[-1]
    seconds, first = min(reached[top], key=lambda pair: pair[0])
    missed = len(rows) - len(reached[top])
    caption = f"First at {top} % on validation: {first.model[:60]}, after {show(seconds, 'seconds')} of training"
    caption += f"; {missed} of {len(rows)} models never reached it." if missed else "."
    layout = {"xaxis": {"type": "log"}, "yaxis": {"autorange": "reversed", "type": "category"}, "rows": len(rows)}
    return [
        Figure("reach", "reach", "Time to accuracy", "", caption, tuple(traces), x="Training time (s)", layout=layout)
    ]


def seconds_to(entry: Entry, threshold: float) -> list[float]:
    """The median over seeds of the seconds until validation top-1 first was at `threshold` percent; empty if never."""
    found = []
    for cell in entry.finished:
        hits = [e.seconds for e in cell.record.epochs if e.evaluation and e.evaluation.top1 >= threshold]
        found += hits[:1]
    return [statistics.median(found)] if found else []


def roofline(group: Group, marks: Mapping[str, Mark]) -> list[Figure]:
    """Work done in a second against work for each byte that the layers move."""
    rows = [e for e in ranked(group, SPEEDS[0]) if e.record.layers and e.numbers.get("multiply_adds")]
    if len(rows) < 2:
        return []
    points = {e.key: (intensity(e), work_rate(e)) for e in rows}
    families = sorted({e.family for e in rows})
    traces = [_works([e for e in rows if e.family == family], points, marks[family]) for family in families]
    best = max(rows, key=lambda e: points[e.key][1])
    roof = points[best.key][1]
    xs = [x for x, _ in points.values()]
    traces.append(ideal("Highest reached", [min(xs), max(xs)], [roof, roof]))
    worst = min(rows, key=lambda e: points[e.key][1])
    caption = (
        f"{best.model[:60]} gets most out of the machine, {roof:,.0f} GFLOP/s; {worst.model[:60]} "
        f"{100 * points[worst.key][1] / roof:.0f} % of that. Bytes are worked out from the layers' outputs and weights."
    )
    return [
        Figure(
            "roofline",
            "roofline",
            "Work and traffic",
            "",
            caption,
            tuple(traces),
            x="FLOP for each byte moved",
            y="GFLOP/s in training",
            layout={"xaxis": {"type": "log"}, "yaxis": {"type": "log"}},
        )
    ]


def _works(rows: Sequence[Entry], points: Mapping[str, tuple[float, float]], mark: Mark) -> Trace:
    xs, ys = zip(*(points[entry.key] for entry in rows), strict=True)
    marked = line(label(rows[0].family), xs, ys, [entry.model for entry in rows], mark)
    return marked | {"mode": "markers", "hovertext": [label(entry.model) for entry in rows]}


def work_rate(entry: Entry) -> float:
    """GFLOP/s of training: six operations a multiply-add and image, times images in a second."""
    return WORK_OF_TRAINING * entry.numbers["multiply_adds"].value * entry.numbers[SPEEDS[0]].value / 1e9


def intensity(entry: Entry) -> float:
    """Operations for each byte of a step: outputs written and read, forward and backward; weights three times."""
    outputs = sum(x.activation_bytes for x in entry.record.layers)
    weights = 3 * FLOAT_BYTES * (entry.record.num_parameters or 0) / entry.record.batch_size
    return WORK_OF_TRAINING * entry.numbers["multiply_adds"].value / max(1.0, 4 * outputs + weights)


def scaling(groups: Sequence[Group]) -> list[Figure]:
    """The rate of a model in worlds of several sizes, with the line of ideal scaling from the smallest."""
    found: dict[str, dict[int, float]] = {}
    for group in groups:
        for entry in group.entries:
            if SPEEDS[0] in entry.numbers:
                found.setdefault(entry.model, {})[entry.record.world_size] = entry.numbers[SPEEDS[0]].value
    several = {model: dict(sorted(worlds.items())) for model, worlds in found.items() if len(worlds) > 1}
    if not several:
        return []
    traces: list[Trace] = []
    for number, (model, worlds) in enumerate(several.items()):
        sizes, rates = list(worlds), list(worlds.values())
        perfect = [rates[0] * size / sizes[0] for size in sizes]
        traces.append(line(label(model), sizes, rates, [model] * len(sizes), Mark(number % 8, number % 10)))
        traces.append(ideal(f"{label(model)}, ideal", sizes, perfect) | {"showlegend": False})
    model, worlds = next(iter(several.items()))
    low, high = min(worlds), max(worlds)
    share = 100 * worlds[high] / worlds[low] / (high / low)
    caption = f"{model[:60]} on {high} processes reaches {share:.0f} % of {high // low} times its rate on {low}."
    caption += " Dotted: ideal."
    return [
        Figure(
            "scaling",
            "scaling",
            "Scaling",
            "",
            caption,
            tuple(traces),
            x="Processes",
            y="Training (images/s)",
            layout={"xaxis": {"dtick": 1}},
        )
    ]
