"""Check that a comparison is whole, fits its records, and says of itself what its raw values say.

No torch.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path

from bench.results.metric import METRICS, SWEEP, TRAINING, Metric, list_metrics
from bench.results.record import Comparison, Measurement, NoiseFloor, RunRecord
from bench.results.step_memory import FLOAT_BYTES
from bench.results.storage import comparison_path
from bench.results.verdict import is_timed, noise_floor


def comparison_faults(
    comparison: Comparison, records: Sequence[RunRecord], path: Path
) -> Iterator[str]:
    """Yield, in a line each, what is wrong with a comparison that was read from `path`.

    Its pairs must be complete, every round a permutation, with one rank a process, of models that
    have finished.
    """
    finished = {record.model: record for record in records if record.status == "ok"}
    unfinished = set(comparison.models) - set(finished)
    if unfinished:
        yield f"is of {', '.join(sorted(unfinished))}, which didn't finish"
        return
    launch, group = comparison.launch, comparison.group
    if comparison_path(path.parent, launch, group).name != path.name:
        yield f"is of launch {launch}, group {group}, which is kept in another file"
    for part, rounds in comparison.order.items():
        if len({tuple(sorted(names)) for names in rounds}) > 1:
            yield f"{part}: a round doesn't visit every contestant once"
    for model, rows in comparison.measurements.items():
        yield from _model_faults(model, rows, comparison, finished)
    again = comparison.same_model_twice
    yield from _model_faults(comparison.reference, again, comparison, finished)
    yield from _noise_faults(comparison)
    yield from _sweep_faults(comparison)
    yield from _condition_faults(comparison)


def _model_faults(
    model: str,
    rows: Sequence[Measurement],
    comparison: Comparison,
    finished: Mapping[str, RunRecord],
) -> Iterator[str]:
    record = finished.get(model)
    if record is None:
        yield f"{model}: is measured but didn't finish"
        return
    for row in rows:
        for fault in _row_faults(row, comparison, record):
            yield f"{model}: {row.metric}: {fault}"
    # Schema 1 had one figure of memory, the peak.
    if comparison.schema > 1:
        for fault in _memory_faults(rows, record):
            yield f"{model}: {fault}"


def _row_faults(row: Measurement, comparison: Comparison, record: RunRecord) -> Iterator[str]:
    metric = METRICS.get(row.metric)
    if metric is None or metric.measure is TRAINING:
        yield "is no metric of a comparison"
        return
    quantity = metric.quantity
    if (row.unit, row.better, row.merge) != (quantity.unit, quantity.better, quantity.merge):
        yield "unit, direction or merging is not its metric's"
    if len(row.values) != comparison.world_size:
        yield f"{len(row.values)} ranks of {comparison.world_size}"
    smallest = _smallest([row])
    if smallest < 0 or (smallest == 0 and not quantity.may_be_zero):
        yield "a value is not positive"
    if row.images != (record.batch_size if metric.per_batch else None):
        yield f"is of {row.images} images, a batch has {record.batch_size}"
    if {len(values) for values in row.values} != {_num_values(row, metric, comparison)}:
        yield "has not a value a round"
    aside = {len(values) for values in row.set_aside}
    if row.set_aside and (len(row.set_aside) != len(row.values) or len(aside) > 1):
        yield "the rounds that were set aside are not those of every rank"
    if row.disturbed < 0:
        yield "less than no core was taken by others"


def _smallest(rows: Iterable[Measurement]) -> float:
    """Return the smallest raw value of all ranks; infinity where there is none."""
    ranks = chain.from_iterable(row.values for row in rows)
    return min(chain.from_iterable(ranks), default=math.inf)


def _num_values(row: Measurement, metric: Metric, comparison: Comparison) -> int:
    """Return how many values each rank must have: one a round of the pass, or one."""
    if row.part:
        return len(comparison.order.get(row.part, ()))
    if comparison.schema > 1 or not metric.is_sampled:
        return 1
    # Schema 1 didn't say in which pass a value was taken: any pass of that length may be it.
    lengths = {len(values) for values in row.values}
    rounds = {len(rounds) for rounds in comparison.order.values()}
    if len(lengths) != 1 or not lengths <= rounds:
        return -1
    return lengths.pop()


def _memory_faults(rows: Sequence[Measurement], record: RunRecord) -> Iterator[str]:
    found = {row.metric: row.value for row in rows if not is_timed(row)}
    weights = FLOAT_BYTES * (record.num_local_parameters or record.num_parameters or 0)
    if found.get("parameter_bytes", weights) != weights:
        yield f"parameter_bytes is not {FLOAT_BYTES} a parameter"
    if found.get("gradient_bytes", 0) > found.get("parameter_bytes", math.inf):
        yield "gradients take more than the weights"
    # On a GPU the peak is of another memory than the process's.
    on_cpu = "device_allocated_bytes" not in found
    process = found.get("process_peak_bytes", math.inf)
    if on_cpu and found.get("peak_memory_bytes", 0) > process:
        yield "peak_memory_bytes is more than the whole process had"


def _noise_faults(comparison: Comparison) -> Iterator[str]:
    """Yield where the noise floor is not that of the raw values."""
    own = {row.metric: row for row in comparison.measurements.get(comparison.reference, ())}
    # Schema 1 left the noise floor to its readers.
    timed = filter(is_timed, comparison.same_model_twice if comparison.schema > 1 else ())
    for again in timed:
        first, said = own.get(again.metric), comparison.noise.get(again.metric)
        if first is None or said is None or not _can_be_paired(first, again):
            yield f"noise: {again.metric} is not there, or its rounds don't pair"
        elif not _is_same(said, noise_floor(again, first)):
            yield f"noise: {again.metric} is not what the rounds say"
    unknown = set(comparison.noise) - {row.metric for row in comparison.same_model_twice}
    if unknown:
        yield f"noise: of {', '.join(sorted(unknown))}, which was not measured twice"


def _can_be_paired(a: Measurement, b: Measurement) -> bool:
    """Tell whether two measurements have as many ranks and rounds, and values above 0 alone."""
    shapes = {tuple(len(values) for values in row.values) for row in (a, b)}
    return len(shapes) == 1 and _smallest([a, b]) > 0


def _is_same(a: NoiseFloor, b: NoiseFloor) -> bool:
    """Tell whether two noise floors agree, up to what another processor's logarithms may change."""
    ours = [a.ratio, a.low or 0.0, a.high or 0.0]
    theirs = [b.ratio, b.low or 0.0, b.high or 0.0]
    close = all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(ours, theirs, strict=True))
    return close and (a.claims, a.windows) == (b.claims, b.windows)


def _sweep_faults(comparison: Comparison) -> Iterator[str]:
    swept = {metric.name for metric in list_metrics(SWEEP)}
    for model, rows in comparison.sweeps.items():
        sizes = [row.images or 0 for row in rows]
        if any(after != 2 * before for before, after in pairwise(sizes)):
            yield f"{model}: the batches of its sweep don't double"
        if _smallest(rows) <= 0:
            yield f"{model}: a value of its sweep is not positive"
        lengths = {len(row.values[0]) for row in rows}
        if len(lengths) > 1 or not {row.metric for row in rows} <= swept:
            yield f"{model}: its sweep is not one"
    if set(comparison.sweep_ended) != set(comparison.sweeps):
        yield "sweep_ended is not of the models that were swept"


def _condition_faults(comparison: Comparison) -> Iterator[str]:
    for row in comparison.machine:
        if row.metric not in METRICS or _smallest([row]) <= 0:
            yield f"machine: {row.metric} is not positive, or no metric"
    for part, found in comparison.conditions.items():
        if found.get("seconds", 0) <= 0:
            yield f"conditions: {part} took no time"
        if any(value < 0 for value in found.values()):
            yield f"conditions: {part} has a value below 0"
