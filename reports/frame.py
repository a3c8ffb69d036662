"""One record's row of the tidy table, empty where nothing was measured."""

import math
from collections.abc import Iterable, Mapping

from bench.results.fastest import find_fastest
from bench.results.interval import Estimate
from bench.results.memory_format import WHERE_FASTER, asked_format, used_format
from bench.results.metric import FIGURES, METRICS, Column
from bench.results.record import Comparison, Measurement, RunRecord
from bench.results.reliability import estimate
from bench.results.setting import SETTINGS
from bench.results.verdict import rate_interval, speed_ratio
from reports.runs import Cell

Field = str | int | float | bool | None

# A contract with everybody who reads published tables: no name goes or moves. A newer figure or
# setting needs no place here: it comes after these.
CONTRACT = (
    *("run", "model", "family", "seed", "status", "dataset", "stand_in", "protocol"),
    *("top1", "top5", "superclass_top1", "num_parameters", "multiply_adds"),
    *("train_images_per_second", "train_step_images_per_second", "loader_images_per_second"),
    *("fit_images_per_second", "infer_images_per_second", "latency_ms_p50", "latency_ms_p99"),
    *("peak_memory_bytes", "world_size", "num_threads", "batch_size", "precision"),
    *("channels_last", "train_seconds", "epochs", "image_size", "source", "top1_split"),
    *("num_images", "error", "machine", "git_commit", "git_dirty", "torch", "created"),
    *("finished", "infer_best_images_per_second", "infer_best_batch", "communication_percent"),
    *("train_gflops_per_second", "first_step_seconds", "compile_seconds"),
    *("energy_joules_per_image", "parameter_bytes", "gradient_bytes", "optimizer_bytes"),
    *("activation_bytes", "process_peak_bytes", "device_allocated_bytes"),
    *("device_reserved_bytes", "batch_choice", "tf32", "cudnn_benchmark", "compile"),
    *("latency_ms_p95", "top1_best_on_test", "best_validation_top1", "best_validation_epoch"),
    *("parallel", "num_local_parameters", "exchanged_bytes"),
)
# Of a model among those that it may be ranked with; `reports/tidy.py` knows the others.
STANDING = ("rank_low", "rank_high", "tier")
NEWER = (
    "feature_seconds",
    "format_choice",
    "fold",
    *STANDING,
    *(column.key for column in FIGURES),
    *(setting.name for setting in SETTINGS if setting.in_csv),
)
COLUMNS = tuple(dict.fromkeys((*CONTRACT, *NEWER)))

# Of a training step for each multiply-add of a forward pass: an operation each for the product and
# the sum, once forward and twice backward (to the inputs and to the weights).
FLOPS_OF_TRAINING = 6


def row_of(cell: Cell, comparison: Comparison | None, *, run: str) -> dict[str, Field]:
    """Return one record's row; what was measured once a model stands in the row of every seed."""
    record = cell.record
    row: dict[str, Field] = dict.fromkeys(COLUMNS)
    for column, scores in cell.image_scores.items():
        row[column] = estimate(column, scores[None]).value
    row |= _identity(record, run) | _results(record) | _provenance(record)
    for measurement in measurements_of(record, comparison):
        row |= figures_of(measurement)
    if record.status == "ok":
        row |= {key: number.value for key, number in derive_figures(record, comparison).items()}
    return row


def measurements_of(record: RunRecord, comparison: Comparison | None) -> Iterable[Measurement]:
    """Return the record's own measurements, then those of its model in the comparison."""
    compared = comparison.measurements.get(record.model, ()) if comparison else ()
    return (*record.measurements, *compared)


def columns_of(measurement: Measurement) -> tuple[Column, ...]:
    """Return the columns that a measurement fills; none for a metric of another version."""
    metric = METRICS.get(measurement.metric)
    return metric.columns if metric else ()


def figures_of(measurement: Measurement) -> dict[str, float]:
    """Return the figures that a measurement gives, by column."""
    return {column.key: figure(measurement, column) for column in columns_of(measurement)}


def figure(measurement: Measurement, column: Column) -> float:
    """Return one figure of a measurement, in its unit."""
    if column.statistic == "value":
        return measurement.value
    assert column.statistic is not None, "a metric's own column has a statistic"
    return measurement.percentile(float(column.statistic.removeprefix("p")))


def _identity(record: RunRecord, run: str) -> dict[str, Field]:
    return {
        "run": run,
        "model": record.model,
        "family": text_of(record.spec, "family"),
        "seed": record.seed,
        "fold": record.fold,
        "status": record.status,
        "dataset": record.data.name,
        "stand_in": record.data.stand_in,
        "protocol": record.data.protocol,
        "source": record.data.source,
        "image_size": image_size(record),
        "error": record.error,
    }


def image_size(record: RunRecord) -> int | None:
    """Return the size in pixels that the model saw: what was asked for, else its own."""
    for size in (record.config.get("image_size"), record.spec.get("image_size")):
        if isinstance(size, int):
            return size
    return None


def _results(record: RunRecord) -> dict[str, Field]:
    row: dict[str, Field] = {
        "num_parameters": record.num_parameters,
        "num_local_parameters": record.num_local_parameters,
        "multiply_adds": record.multiply_adds,
        "train_seconds": record.train_seconds,
        "feature_seconds": feature_seconds(record),
    }
    # No epochs are a finding of a finished cell, and say nothing of one that failed.
    if record.epochs or record.status == "ok":
        row["epochs"] = len(record.epochs)
    if record.accuracy:
        row["top1"] = record.accuracy.top1
        row["top5"] = record.accuracy.top5
        row["superclass_top1"] = record.accuracy.superclass_top1
        row["nll"] = record.accuracy.loss
        row["top1_split"] = record.accuracy.split
        row["num_images"] = record.accuracy.num_images
    return row | best_epochs(record)


def feature_seconds(record: RunRecord) -> float | None:
    """Return what of a cell's training was computing features; None where there were none."""
    seconds = [stage.seconds for stage in record.stages if stage.name == "features"]
    return sum(seconds) if seconds else None


def best_epochs(record: RunRecord) -> dict[str, Field]:
    """Return the best epoch by validation, and the best figure of the test set, where looked at.

    On the test set that is no result, but what some published tables print.
    """
    on_test, on_validation = [], []
    for row in record.epochs:
        if row.evaluation and row.evaluation.split == "test":
            on_test.append(row.evaluation.top1)
        elif row.evaluation:
            # Of equal ones the earliest counts.
            on_validation.append((row.evaluation.top1, -row.epoch))
    found: dict[str, Field] = {"top1_best_on_test": max(on_test, default=None)}
    if on_validation:
        best, minus_epoch = max(on_validation)
        # Counted from one, as on the page.
        found |= {"best_validation_top1": best, "best_validation_epoch": 1 - minus_epoch}
    return found


def _provenance(record: RunRecord) -> dict[str, Field]:
    row: dict[str, Field] = {
        "world_size": record.world_size,
        "batch_size": record.batch_size,
        "batch_choice": "best" if record.config.get("best_batch") else "fixed",
        "channels_last": used_format(record),
        "format_choice": "tried" if asked_format(record) == WHERE_FASTER else "fixed",
        "parallel": as_field(record.config.get("parallel")),
        "created": record.created,
        "finished": record.finished,
    }
    for name in ("git_commit", "git_dirty", "torch"):
        row[name] = as_field(record.environment.get(name))
    for setting in SETTINGS:
        if setting.in_csv:
            row[setting.name] = as_field(setting.read(record))
    return row


def as_field(value: object) -> Field:
    """Return a value for one field: as it is if it is a plain one, else its text."""
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def text_of(mapping: Mapping[str, object], key: str) -> str:
    """Return the text under a key, empty if there is none."""
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def derive_figures(record: RunRecord, comparison: Comparison | None) -> dict[str, Estimate]:
    """Return what can be worked out of a model's measurements, by column.

    Nothing for what wasn't measured.
    """
    if comparison is None:
        return {}
    found = {row.metric: row for row in comparison.measurements.get(record.model, ())}
    numbers = _best_inference(comparison.sweeps.get(record.model, ()))
    numbers |= _fastest_way(found)
    step = found.get("train_step_images_per_second")
    unsynced = found.get("unsynced_step_images_per_second")
    if step and unsynced:
        numbers["communication_percent"] = communication(step, unsynced)
    train = found.get("train_images_per_second")
    if train and record.multiply_adds:
        gflops_per_image = FLOPS_OF_TRAINING * record.multiply_adds / 1e9
        low, high = rate_interval(train)
        numbers["train_gflops_per_second"] = Estimate(
            gflops_per_image * train.value, gflops_per_image * low, gflops_per_image * high
        )
    return numbers


def communication(step: Measurement, unsynced: Measurement) -> Estimate:
    """Return the percentage of a training step that the exchange of gradients takes.

    From pairs of steps with and without it, round by round.
    """
    # How many times as fast a step is without the exchange: of a time of 1, 1 - 1 / ratio goes.
    value, low, high = (
        100 * (1 - 1 / ratio) if ratio else -math.inf for ratio in speed_ratio(unsynced, step)
    )
    return Estimate(value, low, high)


def _best_inference(sweep: tuple[Measurement, ...]) -> dict[str, Estimate]:
    """Return the highest rate of a sweep, and its batch."""
    if not sweep:
        return {}
    best = max(sweep, key=lambda row: row.value)
    size = float(best.images or 0)
    return {
        "infer_best_images_per_second": Estimate(best.value, *rate_interval(best)),
        "infer_best_batch": Estimate(size, size, size),
    }


def _fastest_way(rows: Mapping[str, Measurement]) -> dict[str, Estimate]:
    """Return what the exported file takes in the way that is fastest, one image and in batches."""
    numbers = {}
    one, many = find_fastest(rows, "latency"), find_fastest(rows, "batched")
    if one is not None:
        numbers["deploy_ms"] = one.value
    if many is not None:
        slowest, fastest = many.value.high, many.value.low
        rates = [1000 / ms if ms > 0 else math.inf for ms in (many.value.value, slowest, fastest)]
        numbers["deploy_images_per_second"] = Estimate(*rates)
    return numbers


def machine_peak(comparison: Comparison | None, metric: str) -> float | None:
    """Return the median of what the machine did at most, in the metric's unit."""
    for row in comparison.machine if comparison else ():
        if row.metric == metric:
            return row.value
    return None
