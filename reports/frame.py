"""The tidy table: one row a record, empty where nothing was measured."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.record import Comparison, Measurement, RunRecord
from reports.runs import Source

if TYPE_CHECKING:
    import pandas as pd

import math

from bench.results.interval import Estimate
from bench.results.verdict import rate_interval, speed_ratio

Field = str | int | float | bool | None

COLUMNS = (
    "run",
    "model",
    "family",
    "seed",
    "status",
    "dataset",
    "stand_in",
    "protocol",
    "top1",
    "top5",
    "superclass_top1",
    "num_parameters",
    "multiply_adds",
    "train_images_per_second",
    "train_step_images_per_second",
    "loader_images_per_second",
    "fit_images_per_second",
    "infer_images_per_second",
    "latency_ms_p50",
    "latency_ms_p99",
    "peak_memory_bytes",
    "world_size",
    "num_threads",
    "batch_size",
    "precision",
    "channels_last",
    "train_seconds",
    "epochs",
    "image_size",
    "source",
    "top1_split",
    "num_images",
    "error",
    "machine",
    "git_commit",
    "git_dirty",
    "torch",
    "created",
    "finished",
    "infer_best_images_per_second",
    "infer_best_batch",
    "communication_percent",
    "train_gflops_per_second",
    "first_step_seconds",
    "compile_seconds",
    "energy_joules_per_image",
    "parameter_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "activation_bytes",
    "process_peak_bytes",
    "device_allocated_bytes",
    "device_reserved_bytes",
    "batch_choice",
    "tf32",
    "cudnn_benchmark",
    "compile",
    "latency_ms_p95",
    "top1_best_on_test",
    "best_validation_top1",
    "best_validation_epoch",
    "parallel",
    "num_local_parameters",
    "exchanged_bytes",
)
MEASURED = (
    "train_images_per_second",
    "train_step_images_per_second",
    "loader_images_per_second",
    "fit_images_per_second",
    "infer_images_per_second",
    "peak_memory_bytes",
    "first_step_seconds",
    "compile_seconds",
    "energy_joules_per_image",
    "parameter_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "activation_bytes",
    "process_peak_bytes",
    "device_allocated_bytes",
    "device_reserved_bytes",
    "exchanged_bytes",
)
DERIVED = (
    "infer_best_images_per_second",
    "infer_best_batch",
    "communication_percent",
    "train_gflops_per_second",
)


def tidy_rows(source: Source) -> list[dict[str, Field]]:
    """One row a record with every name of COLUMNS.

    Percent, images/s of the whole world, bytes, seconds, ms.
    """
    return [row_of(cell.record, run.comparison, run=run.name) for run, cell in source.cells]


def tidy_frame(source: Source) -> "pd.DataFrame":
    """The tidy rows as a pandas frame."""
    import pandas as pd

    return pd.DataFrame(tidy_rows(source), columns=list(COLUMNS)).convert_dtypes()


def write_csv(source: Source, path: Path) -> None:
    """Write the tidy table as CSV; ValueError if the file can't be written."""
    try:
        tidy_frame(source).to_csv(path, index=False, lineterminator="\n")
    except OSError as error:
        raise ValueError(f"{path}: can't be written ({error.strerror or error})") from error


def row_of(record: RunRecord, comparison: Comparison | None, *, run: str) -> dict[str, Field]:
    """One record's row. What was measured once a model stands in the row of each of its seeds."""
    found = {m.metric: m for m in measurements_of(record, comparison)}
    worked_out = derived(record, comparison) if record.status == "ok" else {}
    more: dict[str, Field] = {
        name: worked_out[name].value if name in worked_out else None for name in DERIVED
    }
    return _identity(record, run) | _results(record) | _measured(found) | more | _provenance(record)


def measurements_of(record: RunRecord, comparison: Comparison | None) -> Iterable[Measurement]:
    """The record's own measurements, then those of its model in the comparison, if it was part of it."""
    compared = comparison.measurements.get(record.model, ()) if comparison else ()
    return (*record.measurements, *compared)


def _identity(record: RunRecord, run: str) -> dict[str, Field]:
    return {
        "run": run,
        "model": record.model,
        "family": text_of(record.spec, "family"),
        "seed": record.seed,
        "status": record.status,
        "dataset": record.data.name,
        "stand_in": record.data.stand_in,
        "protocol": record.data.protocol,
        "source": record.data.source,
        "image_size": image_size(record),
        "error": record.error,
    }


def image_size(record: RunRecord) -> int | None:
    """The size in pixels that the model saw: what was asked for, else its own."""
    asked, own = record.config.get("image_size"), record.spec.get("image_size")
    return asked if isinstance(asked, int) else own if isinstance(own, int) else None


def _results(record: RunRecord) -> dict[str, Field]:
    accuracy = record.accuracy
    row: dict[str, Field] = {
        "top1": accuracy.top1 if accuracy else None,
        "top5": accuracy.top5 if accuracy else None,
        "superclass_top1": accuracy.superclass_top1 if accuracy else None,
        "top1_split": accuracy.split if accuracy else None,
        "num_images": accuracy.num_images if accuracy else None,
    }
    return (
        row
        | chosen(record)
        | {
            "num_parameters": record.num_parameters,
            "num_local_parameters": record.num_local_parameters,
            "multiply_adds": record.multiply_adds,
            "train_seconds": record.train_seconds,
            "epochs": len(record.epochs) if record.epochs or record.status == "ok" else None,
        }
    )


def chosen(record: RunRecord) -> dict[str, Field]:
    """The best epoch, by whichever set was looked at.

    On the test set that is no result, but what some tables print.
    """
    rows = [(row.evaluation, row.epoch) for row in record.epochs if row.evaluation]
    on_test = [accuracy.top1 for accuracy, _ in rows if accuracy.split == "test"]
    on_validation = [
        (accuracy.top1, -epoch) for accuracy, epoch in rows if accuracy.split == "validation"
    ]
    best, epoch = max(on_validation, default=(None, None))
    return {
        "top1_best_on_test": max(on_test, default=None),
        "best_validation_top1": best,
        "best_validation_epoch": None
        if epoch is None
        else 1 - epoch,  # counted from one, as on the page
    }


def _measured(found: Mapping[str, Measurement]) -> dict[str, Field]:
    row: dict[str, Field] = {
        name: found[name].value if name in found else None for name in MEASURED
    }
    latency = found.get("latency_ms")
    row["latency_ms_p50"] = latency.percentile(50) if latency else None
    row["latency_ms_p95"] = latency.percentile(95) if latency else None
    row["latency_ms_p99"] = latency.percentile(99) if latency else None
    return row


def _provenance(record: RunRecord) -> dict[str, Field]:
    environment, config = record.environment, record.config
    row: dict[str, Field] = {"world_size": record.world_size, "batch_size": record.batch_size}
    row |= {name: plain(config.get(name)) for name in ("precision", "channels_last", "parallel")}
    row |= {
        name: plain(environment.get(name))
        for name in ("num_threads", "machine", "git_commit", "git_dirty", "torch")
    }
    row["batch_choice"] = "best" if config.get("best_batch") else "fixed"
    row |= {name: plain(environment.get(name)) for name in ("tf32", "cudnn_benchmark")}
    row["compile"] = plain(config.get("compile"))
    return row | {"created": record.created, "finished": record.finished}


def plain(value: object) -> Field:
    """A value for one field: as it is if it is a plain one, else its text."""
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def text_of(mapping: Mapping[str, object], key: str) -> str:
    """The text under a key, empty if there is none."""
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


FLOPS_OF_TRAINING = (
    6  # of a training step for each multiply-add of a forward pass: two, forward and twice backward
)


def derived(record: RunRecord, comparison: Comparison | None) -> dict[str, Estimate]:
    """What can be worked out of a model's measurements, by column.

    Nothing for what wasn't measured.
    """
    if comparison is None:
        return {}
    found = {row.metric: row for row in comparison.measurements.get(record.model, ())}
    numbers = _best_inference(comparison.sweeps.get(record.model, ()))
    step, unsynced = (
        found.get("train_step_images_per_second"),
        found.get("unsynced_step_images_per_second"),
    )
    if step and unsynced:
        numbers["communication_percent"] = communication(step, unsynced)
    train = found.get("train_images_per_second")
    if train and record.multiply_adds:
        work = FLOPS_OF_TRAINING * record.multiply_adds / 1e9
        numbers["train_gflops_per_second"] = Estimate(
            *(work * x for x in (train.value, *rate_interval(train)))
        )
    return numbers


def communication(step: Measurement, unsynced: Measurement) -> Estimate:
    """Percent of a training step that goes into exchanging gradients, from pairs of steps with and without it."""
    return Estimate(
        *(100 * (1 - 1 / ratio) if ratio else -math.inf for ratio in speed_ratio(unsynced, step))
    )


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
