"""Charts of what models cost: who beats whom, memory by kind, time to an accuracy, roofline."""

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.results.step_memory import FLOAT_BYTES, estimate_recorded_step
from reports.chart.figure import Figure, Trace, bar, dots, ideal, label, line
from reports.chart.palette import Mark
from reports.column import BY_KEY, show
from reports.frame import FLOPS_OF_TRAINING, machine_peak
from reports.pairs import SPEEDS, Pair, Pairs
from reports.ranking import Entry, Group, best_first

MAX_MATRIX = 40  # rows of a matrix of pairs
THRESHOLDS = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)  # percent of validation top-1


def pair_matrix(group: Group, compared: Mapping[str, Pairs]) -> list[Figure]:
    """Every row against every other: ratios of rates and points of top-1, with the verdicts."""
    figures = []
    for column in ("top1", *SPEEDS):
        rows = [e for e in best_first(group, column) if compared[column].get(e.key)]
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
    decided = [
        pair
        for line in held
        for pair in line
        if pair and pair.judgement not in ("undecided", "same")
    ]
    total = len(rows) * (len(rows) - 1) // 2
    what = (
        "top-1 on the same images"
        if points
        else BY_KEY[column].title.lower() + " in the same rounds"
    )
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
    rows = [
        e
        for e in best_first(group, "top1") or group.entries
        if e.record.layers and e.record.num_parameters
    ]
    if not rows:
        return []
    parts, how = _measured_parts(rows), "Bars are counted on the tensors of a step"
    if not parts:
        parts, how = (
            _worked_out_parts(rows),
            "Bars are worked out (float32, every layer's output kept)",
        )
    traces = [bar(name, values, rows, hue) for hue, (name, values) in enumerate(parts.items())]
    measured = [e for e in rows if "peak_memory_bytes" in e.numbers]
    if measured:
        peaks = [e.numbers["peak_memory_bytes"].value / 1e6 for e in measured]
        traces.append(dots("Measured peak", peaks, measured, 5))
    sums = [sum(values) for values in zip(*parts.values(), strict=True)]
    most = max(range(len(rows)), key=lambda i: sums[i])
    kind = max(parts, key=lambda name: parts[name][most])
    caption = (
        f"{rows[most].model[:60]} needs most: {show(1e6 * sums[most], 'bytes')} in all, mostly {kind.lower()}. "
        f"{how}; the mark is the measured peak."
    )
    layout = {"barmode": "stack", "yaxis": {"autorange": "reversed"}, "rows": len(rows)}
    return [
        Figure(
            "memory",
            "memory",
            "Memory by kind",
            "",
            caption,
            tuple(traces),
            x="Memory (MB)",
            layout=layout,
        )
    ]


KINDS = {
    "Weights": "parameter_bytes",
    "Gradients": "gradient_bytes",
    "Optimiser": "optimizer_bytes",
    "Activations": "activation_bytes",
}


def _measured_parts(rows: Sequence[Entry]) -> dict[str, list[float]]:
    """MB by kind as a step holds them; empty unless every row was measured."""
    if not all(metric in e.numbers for e in rows for metric in KINDS.values()):
        return {}
    return {name: [e.numbers[metric].value / 1e6 for e in rows] for name, metric in KINDS.items()}


def _worked_out_parts(rows: Sequence[Entry]) -> dict[str, list[float]]:
    """MB by kind as the layers' sizes suggest."""
    estimates = [
        estimate_recorded_step(entry.record, num_images=entry.record.batch_size) for entry in rows
    ]
    return {
        "Weights": [memory.weights / 1e6 for memory in estimates],
        "Gradients": [memory.gradients / 1e6 for memory in estimates],
        "Optimiser": [memory.optimizer / 1e6 for memory in estimates],
        "Activations": [memory.activations / 1e6 for memory in estimates],
    }


def time_to_accuracy(group: Group) -> list[Figure]:
    """What it took until a validation top-1 was first reached.

    Seconds, images and multiply-adds of training.
    """
    rows = [
        e
        for e in best_first(group, "top1")
        if any(epoch.evaluation for c in e.finished for epoch in c.record.epochs)
    ]
    reached = {t: [e for e in rows if effort_to(e, t)] for t in THRESHOLDS}
    useful = [t for t in THRESHOLDS if len(reached[t]) >= max(1, min(2, len(rows)))][-3:]
    return [
        _reach(unit, number, rows, {t: reached[t] for t in useful})
        for number, unit in enumerate(EFFORTS)
        if useful
    ]


EFFORTS = {
    "Training time (s)": "Time",
    "Images trained on": "Images",
    "Multiply-adds of training": "Work",
}


def _reach(
    unit: str, number: int, rows: Sequence[Entry], reached: Mapping[int, Sequence[Entry]]
) -> Figure:
    efforts = {t: [effort_to(e, t)[number] for e in some] for t, some in reached.items()}
    traces = [dots(f"{t} %", efforts[t], reached[t], place) for place, t in enumerate(efforts)]
    top = max(efforts)
    least, first = min(zip(efforts[top], reached[top], strict=True), key=lambda pair: pair[0])
    seconds = effort_to(first, top)[0]
    missed = len(rows) - len(reached[top])
    amount = (
        f"after {show(seconds, 'seconds')} of training"
        if not number
        else f"after {least:.3g} ({unit.lower()})"
    )
    caption = f"First at {top} % on validation: {first.model[:60]}, {amount}"
    caption += f"; {missed} of {len(rows)} models never reached it." if missed else "."
    layout = {
        "xaxis": {"type": "log"},
        "yaxis": {"autorange": "reversed", "type": "category"},
        "rows": len(rows),
    }
    key = f"reach-{EFFORTS[unit].lower()}" if number else "reach"
    return Figure(
        key,
        "reach",
        "Time to accuracy",
        EFFORTS[unit],
        caption,
        tuple(traces),
        x=unit,
        layout=layout,
    )


def effort_to(entry: Entry, threshold: float) -> tuple[float, ...]:
    """The median over all seeds of (seconds, images, multiply-adds) until validation top-1 first was at `threshold`.

    A seed that ended below it is censored: it counts as one that takes longer than any other. Empty
    where the median seed never got there.
    """
    found = []
    for cell in entry.finished:
        hits = [e for e in cell.record.epochs if e.evaluation and e.evaluation.top1 >= threshold]
        work = 3 * (cell.record.multiply_adds or 0)
        found.append(
            (hits[0].seconds, hits[0].images, work * hits[0].images) if hits else (math.inf,) * 3
        )
    middles = tuple(statistics.median_high(column) for column in zip(*found, strict=True))
    return middles if middles and math.isfinite(middles[0]) else ()


def roofline(group: Group, marks: Mapping[str, Mark]) -> list[Figure]:
    """Work done in a second against work for each byte that the layers move."""
    rows = [
        e
        for e in best_first(group, SPEEDS[0])
        if e.record.layers and e.numbers.get("multiply_adds")
    ]
    if len(rows) < 2:
        return []
    points = {e.key: (intensity(e), work_rate(e)) for e in rows}
    families = sorted({e.family for e in rows})
    traces = [
        _works([e for e in rows if e.family == family], points, marks[family])
        for family in families
    ]
    best = max(rows, key=lambda e: points[e.key][1])
    most = points[best.key][1]
    xs = [x for x, _ in points.values()]
    peak, copy = (machine_peak(rows[0].run.comparison, name) for name in PEAKS)
    if peak and copy:
        traces.append(_roof(min(xs), max(xs), peak / 1e9, copy / 1e9))
        reachable = min(peak / 1e9, points[best.key][0] * copy / 1e9)
        held = f"{100 * most / reachable:.0f} % of what products and copies reach"
    else:
        traces.append(ideal("Highest reached", [min(xs), max(xs)], [most, most]))
        held = "the machine's own peak was not measured"
    worst = min(rows, key=lambda e: points[e.key][1])
    caption = (
        f"{best.model[:60]} gets most out of the machine, {most:,.0f} GFLOP/s ({held}); {worst.model[:60]} "
        f"{100 * points[worst.key][1] / most:.0f} % of that. Bytes are worked out from the layers' outputs and weights."
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


PEAKS = ("matmul_flops_per_second", "copy_bytes_per_second")


def _roof(low: float, high: float, peak: float, copy: float) -> Trace:
    """The measured roof in GFLOP/s.

    What copying allows at an intensity, up to the matrix product's peak.
    """
    corner = peak / copy
    xs = sorted({low, min(max(low, corner), high), high})
    return ideal("Measured roof", xs, [min(peak, x * copy) for x in xs])


def _works(rows: Sequence[Entry], points: Mapping[str, tuple[float, float]], mark: Mark) -> Trace:
    xs, ys = zip(*(points[entry.key] for entry in rows), strict=True)
    marked = line(label(rows[0].family), xs, ys, [entry.model for entry in rows], mark)
    return marked | {"mode": "markers", "hovertext": [label(entry.model) for entry in rows]}


def work_rate(entry: Entry) -> float:
    """GFLOP/s of training: six operations a multiply-add and image, times images in a second."""
    return (
        FLOPS_OF_TRAINING
        * entry.numbers["multiply_adds"].value
        * entry.numbers[SPEEDS[0]].value
        / 1e9
    )


def intensity(entry: Entry) -> float:
    """Operations for each byte of a step: outputs written and read, forward and backward.

    Weights three times.
    """
    outputs = sum(x.activation_bytes for x in entry.record.layers)
    weights = 3 * FLOAT_BYTES * (entry.record.num_parameters or 0) / entry.record.batch_size
    return (
        FLOPS_OF_TRAINING * entry.numbers["multiply_adds"].value / max(1.0, 4 * outputs + weights)
    )


def bottleneck(group: Group) -> list[Figure]:
    """How much of the end-to-end time the loader alone and the step alone take, and which one is the bottleneck."""
    ends, step, loader = (
        "train_images_per_second",
        "train_step_images_per_second",
        "loader_images_per_second",
    )
    rows = [e for e in best_first(group, ends) if step in e.numbers and loader in e.numbers]
    if not rows:
        return []
    shares = {
        name: [100 * e.numbers[ends].value / e.numbers[key].value for e in rows]
        for name, key in (("Step alone", step), ("Loader alone", loader))
    }
    waits = [e.model[:60] for e, a, b in zip(rows, *shares.values(), strict=True) if b > a]
    slowest = min(range(len(rows)), key=lambda i: shares["Step alone"][i])
    caption = (
        f"The loader is the bottleneck of {', '.join(waits)}."
        if waits
        else f"The step itself is the bottleneck of every model: it alone takes at least "
        f"{shares['Step alone'][slowest]:.0f} % of the end-to-end time ({rows[slowest].model[:60]})."
    )
    traces = tuple(bar(name, share, rows, hue) for hue, (name, share) in enumerate(shares.items()))
    layout = {
        "barmode": "group",
        "yaxis": {"automargin": True, "autorange": "reversed"},
        "rows": len(rows),
    }
    return [
        Figure(
            "bottleneck",
            "bottleneck",
            "Loader, step and end to end",
            "",
            caption,
            traces,
            "Share of end to end (%)",
            "",
            layout,
        )
    ]
