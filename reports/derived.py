"""Figures that follow from several measurements: the best batch, the share of communication, what was got out."""

import math

from bench.results.interval import Estimate
from bench.results.record import Comparison, Measurement, RunRecord
from bench.results.verdict import rate_interval, speed_ratio

FLOPS_OF_TRAINING = 6  # of a training step for each multiply-add of a forward pass: two, forward and twice backward


def derived(record: RunRecord, comparison: Comparison | None) -> dict[str, Estimate]:
    """What can be worked out of a model's measurements, by column; nothing for what wasn't measured."""
    if comparison is None:
        return {}
    found = {row.metric: row for row in comparison.measurements.get(record.model, ())}
    numbers = _best_inference(comparison.sweeps.get(record.model, ()))
    step, unsynced = found.get("train_step_images_per_second"), found.get("unsynced_step_images_per_second")
    if step and unsynced:
        numbers["communication_percent"] = communication(step, unsynced)
    train = found.get("train_images_per_second")
    if train and record.multiply_adds:
        work = FLOPS_OF_TRAINING * record.multiply_adds / 1e9
        numbers["train_gflops_per_second"] = Estimate(*(work * x for x in (train.value, *rate_interval(train))))
    return numbers


def communication(step: Measurement, unsynced: Measurement) -> Estimate:
    """Percent of a training step that goes into exchanging gradients, from pairs of steps with and without it."""
    return Estimate(*(100 * (1 - 1 / ratio) if ratio else -math.inf for ratio in speed_ratio(unsynced, step)))


def _best_inference(sweep: tuple[Measurement, ...]) -> dict[str, Estimate]:
    """The highest rate of a sweep, and its batch."""
    if not sweep:
        return {}
    best = max(sweep, key=lambda row: row.value)
    size = float(best.images or 0)
    return {
        "infer_best_images_per_second": Estimate(best.value, *rate_interval(best)),
        "infer_best_batch": Estimate(size, size, size),
    }


def machine_peak(comparison: Comparison | None, metric: str) -> float | None:
    """The median of what the machine did at most, in the metric's unit."""
    rows = [row.value for row in comparison.machine if row.metric == metric] if comparison else []
    return rows[0] if rows else None
