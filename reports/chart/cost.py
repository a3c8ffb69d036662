"""Charts of what models cost: loader against step, memory by kind, and the roofline."""

from collections.abc import Collection, Sequence

from bench.results.metric import FIGURES
from bench.results.step_memory import FLOAT_BYTES, estimate_recorded_step
from reports.chart.figure import (
    Chart,
    Figure,
    Trace,
    by_family,
    caption_name,
    column_of_rows,
    column_values,
    draw_dots,
    draw_family,
    draw_parts,
    draw_reference,
)
from reports.column import format_value
from reports.frame import FLOPS_OF_TRAINING, machine_peak
from reports.pairs import SPEEDS
from reports.ranking import Entry, best_first
from reports.view import View

BOTTLENECK = Chart("bottleneck", "Loader, step and end to end")
MEMORY = Chart("memory", "Memory by kind")
ROOFLINE = Chart("roofline", "Work and traffic")

# The two parts of training that are measured alone as well as together.
ALONE = {
    "Step alone": "train_step_images_per_second",
    "Loader alone": "loader_images_per_second",
}
# Columns of what a training step holds.
KINDS = {column.bar: column.key for column in FIGURES if column.bar}
PEAK_HUE = 5  # grey in both themes: apart from the hues of the bars


def draw_bottleneck(view: View) -> list[Figure]:
    """Return which share of the end-to-end time the step alone and the loader alone would take."""
    rows = [e for e in best_first(view.largest, SPEEDS[0]) if _has_all(e, ALONE.values())]
    if not rows:
        return []
    end_to_end = column_values(rows, SPEEDS[0])
    shares = {}
    for name, column in ALONE.items():
        # The share of time is the ratio of rates, upside down.
        rates = zip(end_to_end, column_values(rows, column), strict=True)
        shares[name] = [100 * together / alone for together, alone in rates]
    step, loader = shares.values()
    waiting = []
    for entry, step_share, loader_share in zip(rows, step, loader, strict=True):
        if loader_share > step_share:
            waiting.append(caption_name(entry))
    if waiting:
        caption = f"The loader is the bottleneck of {', '.join(waiting)}."
    else:
        least = min(step)
        name = caption_name(rows[step.index(least)])
        caption = "The step is the bottleneck of every model: alone it takes at least "
        caption += f"{least:.0f} % of the end-to-end time ({name})."
    traces = draw_parts(shares, rows)
    layout = {
        "barmode": "group",
        "yaxis": column_of_rows(rows),
        "rows": len(rows),
    }
    return [Figure(BOTTLENECK, caption, traces, "Share of end to end (%)", layout=layout)]


def _has_all(entry: Entry, columns: Collection[str]) -> bool:
    return all(column in entry.numbers for column in columns)


def draw_memory(view: View) -> list[Figure]:
    """Return what a training step must hold, by kind, and the peak that was measured."""
    candidates = best_first(view.largest, "top1") or view.largest.entries
    rows = [e for e in candidates if e.record.layers and e.record.num_parameters]
    if not rows:
        return []
    by_kind = _measured_memory(rows)
    source = "The bars are counted over the tensors of a step"
    if not by_kind:
        by_kind = _estimated_memory(rows)
        source = "The bars are an estimate (float32, every layer's output is kept)"
    traces = draw_parts(by_kind, rows)
    with_peak = [entry for entry in rows if "peak_memory_bytes" in entry.numbers]
    if with_peak:
        peaks = column_values(with_peak, "peak_memory_bytes")
        traces.append(draw_dots("Measured peak", peaks, with_peak, PEAK_HUE))
    totals = [sum(parts) for parts in zip(*by_kind.values(), strict=True)]
    most = totals.index(max(totals))
    kind = max(by_kind, key=lambda name: by_kind[name][most])
    total = format_value(1e6 * totals[most], "bytes")
    caption = f"{caption_name(rows[most])} needs most: {total} in all, mostly {kind.lower()}. "
    caption += f"{source}; the marks are measured peaks."
    layout = {"barmode": "stack", "yaxis": column_of_rows(rows), "rows": len(rows)}
    return [Figure(MEMORY, caption, traces, "Memory (MB)", layout=layout)]


def _measured_memory(rows: Sequence[Entry]) -> dict[str, list[float]]:
    """Return MB by kind as a step holds them; empty unless every row was measured."""
    if not all(_has_all(entry, KINDS.values()) for entry in rows):
        return {}
    by_kind = {}
    for name, column in KINDS.items():
        by_kind[name] = [entry.numbers[column].value / 1e6 for entry in rows]
    return by_kind


def _estimated_memory(rows: Sequence[Entry]) -> dict[str, list[float]]:
    """Return MB by kind as the sizes of the layers suggest, for a step of the whole batch."""
    by_kind: dict[str, list[float]] = {name: [] for name in KINDS}
    for entry in rows:
        step = estimate_recorded_step(entry.record, num_images=entry.record.batch_size)
        # A step names its kinds in the order of KINDS.
        for name, held in zip(KINDS, step, strict=True):
            by_kind[name].append(held / 1e6)
    return by_kind


def draw_roofline(view: View) -> list[Figure]:
    """Return work per second against work per byte that the layers move.

    Williams et al. 2009, "Roofline: An Insightful Visual Performance Model for Multicore
    Architectures", with the roof that this machine reached in a matrix product and in a copy.
    """
    rows = [
        entry
        for entry in best_first(view.largest, SPEEDS[0])
        if entry.record.layers and entry.numbers.get("multiply_adds")
    ]
    if len(rows) < 2:
        return []
    points = {entry.key: (intensity(entry), work_rate(entry)) for entry in rows}
    traces = []
    for label, members in by_family(rows):
        xs = [points[entry.key][0] for entry in members]
        ys = [points[entry.key][1] for entry in members]
        mark = view.marks[members[0].family]
        traces.append(draw_family(label, members, xs, ys, mark))
    best = max(rows, key=work_rate)
    worst = min(rows, key=work_rate)
    best_intensity, most = points[best.key]
    intensities = [x for x, _ in points.values()]
    lowest, highest = min(intensities), max(intensities)
    comparison = rows[0].run.comparison
    product = machine_peak(comparison, "matmul_flops_per_second")
    copy = machine_peak(comparison, "copy_bytes_per_second")
    if product and copy:
        peak, bandwidth = product / 1e9, copy / 1e9
        traces.append(_draw_roof(lowest, highest, peak, bandwidth))
        roof = min(peak, best_intensity * bandwidth)
        compared = f"{100 * most / roof:.0f} % of what matrix products and copies reach"
    else:
        traces.append(draw_reference("Highest reached", [lowest, highest], [most, most]))
        compared = "the machine's own peak was not measured"
    least = 100 * work_rate(worst) / most
    caption = (
        f"{caption_name(best)} gets most out of the machine, {most:,.0f} GFLOP/s ({compared}); "
        f"{caption_name(worst)} gets {least:.0f} % of that. "
        f"Bytes are an estimate from the layers' outputs and weights."
    )
    layout = {"xaxis": {"type": "log"}, "yaxis": {"type": "log"}}
    x, y = "FLOP per byte moved", "GFLOP/s in training"
    return [Figure(ROOFLINE, caption, traces, x, y, layout)]


def _draw_roof(lowest: float, highest: float, peak: float, bandwidth: float) -> Trace:
    """Return the measured roof: what copying (GB/s) allows, up to the peak (GFLOP/s)."""
    corner = peak / bandwidth
    inside = min(max(lowest, corner), highest)  # the corner, if the models are on both sides of it
    xs = sorted({lowest, inside, highest})
    return draw_reference("Measured roof", xs, [min(peak, x * bandwidth) for x in xs])


def work_rate(entry: Entry) -> float:
    """Return GFLOP/s of training: six operations per multiply-add and image."""
    multiply_adds = entry.numbers["multiply_adds"].value
    return FLOPS_OF_TRAINING * multiply_adds * entry.numbers[SPEEDS[0]].value / 1e9


def intensity(entry: Entry) -> float:
    """Return the operations per byte of a training step, for one image.

    Outputs are written and read, forward and backward; weights are moved three times (forward,
    backward and update), shared by the images of a batch.
    """
    parameters = entry.record.num_parameters or 0
    weights = 3 * FLOAT_BYTES * parameters / entry.record.batch_size
    outputs = sum(layer.activation_bytes for layer in entry.record.layers)
    moved = max(1.0, 4 * outputs + weights)
    return FLOPS_OF_TRAINING * entry.numbers["multiply_adds"].value / moved
