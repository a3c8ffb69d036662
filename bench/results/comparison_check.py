"""Check that a comparison is whole, fits its records, and says of itself what its raw values say.

No torch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from bench.results.metric import METRICS
from bench.results.record import Comparison, Measurement, NoiseFloor, RunRecord
from bench.results.storage import comparison_path
from bench.results.verdict import is_timed, noise_floor

FLOAT_BYTES = 4


def comparison_faults(
    comparison: Comparison, records: Sequence[RunRecord], path: Path
) -> Iterator[str]:
    """What a comparison must be.

    Pairs complete, every round a permutation, a rank a process, of models that ran.
    """
    ran = {record.model: record for record in records if record.status == "ok"}
    if not set(comparison.models) <= set(ran):
        yield f"is of {', '.join(sorted(set(comparison.models) - set(ran)))}, which didn't finish"
        return
    if comparison_path(path.parent, comparison.launch, comparison.group).name != path.name:
        yield f"is of launch {comparison.launch}, group {comparison.group}, which is kept in another file"
    for name, rounds in comparison.order.items():
        if any(sorted(names) != sorted(rounds[0]) for names in rounds):
            yield f"{name}: a round doesn't visit every contestant once"
    measured = [
        *comparison.measurements.items(),
        (comparison.reference, comparison.same_model_twice),
    ]
    for model, rows in measured:
        if model not in ran:
            yield f"{model}: is measured but didn't finish"
            continue
        for row in rows:
            yield from (
                f"{model}: {row.metric}: {fault}"
                for fault in _row_faults(row, comparison, ran[model])
            )
        if comparison.schema > 1:
            yield from (f"{model}: {fault}" for fault in _memory_faults(rows, ran[model]))
    yield from _noise_faults(comparison)
    yield from _sweep_faults(comparison)
    yield from _condition_faults(comparison)


def _row_faults(row: Measurement, comparison: Comparison, record: RunRecord) -> Iterator[str]:
    kind = METRICS.get(row.metric)
    if kind is None:
        yield "is no metric"
        return
    if (row.unit, row.better, row.merge) != (kind.unit, kind.better, kind.merge):
        yield "unit, direction or merging is not its metric's"
    if len(row.values) != comparison.world_size:
        yield f"{len(row.values)} ranks of {comparison.world_size}"
    least = (
        -1.0
        if row.metric.endswith("_bytes")
        or row.metric in ("compile_seconds", "energy_joules_per_image")
        else 0.0
    )
    if any(value <= least for values in row.values for value in values):
        yield "a value is not positive"
    if row.images != (record.batch_size if kind.per_batch else None):
        yield f"is of {row.images} images, a batch has {record.batch_size}"
    if {len(values) for values in row.values} != {_num_values(row, comparison)}:
        yield "has not a value a round"


def _num_values(row: Measurement, comparison: Comparison) -> int:
    """How many values each rank must have: one a round of the pass, or one."""
    if row.part:
        return len(comparison.order.get(row.part, ()))
    once = row.metric.endswith(("_bytes", "_seconds")) or row.metric == "energy_joules_per_image"
    if comparison.schema > 1 or once:
        return 1
    # Schema 1 didn't say in which pass a value was taken.
    lengths = {len(values) for values in row.values}
    rounds = {len(rounds) for rounds in comparison.order.values()}
    return lengths.pop() if lengths <= rounds and len(lengths) == 1 else -1


def _memory_faults(rows: Sequence[Measurement], record: RunRecord) -> Iterator[str]:
    found = {row.metric: row.value for row in rows if row.metric.endswith("_bytes")}
    weights = FLOAT_BYTES * (record.num_local_parameters or record.num_parameters or 0)
    if found.get("parameter_bytes", weights) != weights:
        yield f"parameter_bytes is not {FLOAT_BYTES} a parameter"
    if found.get("gradient_bytes", 0) > found.get("parameter_bytes", math.inf):
        yield "gradients take more than the weights"
    if "device_allocated_bytes" not in found and found.get("peak_memory_bytes", 0) > found.get(
        "process_peak_bytes", math.inf
    ):
        yield "peak_memory_bytes is more than the whole process had"


def _noise_faults(comparison: Comparison) -> Iterator[str]:
    """The noise floor is that of the raw values."""
    own = {row.metric: row for row in comparison.measurements.get(comparison.reference, ())}
    for twin in filter(is_timed, comparison.same_model_twice if comparison.schema > 1 else ()):
        first, said = own.get(twin.metric), comparison.noise.get(twin.metric)
        if first is None or said is None or not _can_be_paired(first, twin):
            yield f"noise: {twin.metric} is not there, or its rounds don't pair"
        elif not _is_same(said, noise_floor(twin, first)):
            yield f"noise: {twin.metric} is not what the rounds say"
    unknown = set(comparison.noise) - {twin.metric for twin in comparison.same_model_twice}
    if unknown:
        yield f"noise: of {', '.join(sorted(unknown))}, which was not measured twice"


def _can_be_paired(a: Measurement, b: Measurement) -> bool:
    """Whether two measurements have as many ranks and rounds, and no value that is none."""
    shapes = {tuple(len(values) for values in row.values) for row in (a, b)}
    return len(shapes) == 1 and all(
        value > 0 for row in (a, b) for values in row.values for value in values
    )


def _is_same(a: NoiseFloor, b: NoiseFloor) -> bool:
    """Whether two noise floors agree, up to what another processor's logarithms may change."""
    ours, theirs = ([x.ratio, x.low or 0.0, x.high or 0.0] for x in (a, b))
    close = all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(ours, theirs, strict=True))
    return close and (a.claims, a.windows) == (b.claims, b.windows)


def _sweep_faults(comparison: Comparison) -> Iterator[str]:
    for model, rows in comparison.sweeps.items():
        sizes = [row.images or 0 for row in rows]
        if any(after != 2 * before for before, after in pairwise(sizes)):
            yield f"{model}: the batches of its sweep don't double"
        if any(value <= 0 for row in rows for values in row.values for value in values):
            yield f"{model}: a value of its sweep is not positive"
        if (
            any(row.metric != "sweep_images_per_second" for row in rows)
            or len({len(r.values[0]) for r in rows}) > 1
        ):
            yield f"{model}: its sweep is not one"
    if set(comparison.sweep_ended) != set(comparison.sweeps):
        yield "sweep_ended is not of the models that were swept"


def _condition_faults(comparison: Comparison) -> Iterator[str]:
    for row in comparison.machine:
        if row.metric not in METRICS or any(
            value <= 0 for values in row.values for value in values
        ):
            yield f"machine: {row.metric} is not positive, or no metric"
    for name, found in comparison.conditions.items():
        yield from _stretch_faults(name, found)


def _stretch_faults(name: str, found: Mapping[str, float]) -> Iterator[str]:
    if found.get("seconds", 0) <= 0:
        yield f"conditions: {name} took no time"
    if any(value < 0 for value in found.values()):
        yield f"conditions: {name} has a value below 0"
