"""What a reader is warned of: the machine, the rounds, the comparison."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.results.interval import MIN_VALUES, rounds_needed
from bench.results.record import Comparison, Measurement
from reports.pairs import SPEEDS
from reports.ranking import Entry

DRIFT = 0.05  # of the median between the first and the last third of the rounds
SPREAD = 0.25  # between the quartiles, of the median


@dataclass(frozen=True)
class PageWarning:
    """A warning and the rows that it concerns; `column` is empty if it concerns all of a row."""

    text: str
    keys: tuple[str, ...]
    column: str = ""


def warnings_of(entries: Sequence[Entry]) -> list[PageWarning]:
    """All warnings of the page, the same ones of several rows together, in a fixed order."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for text, column in _warnings_of(entry):
            found.setdefault((text, column), []).append(entry.key)
    return [PageWarning(text, tuple(keys), column) for (text, column), keys in found.items()]


def _warnings_of(entry: Entry) -> Iterator[tuple[str, str]]:
    if not entry.finished:
        return
    if len(entry.finished) == 1 and "top1" in entry.numbers:
        yield (
            "One seed: how far seeds of this model differ is not known, and not in the interval.",
            "top1",
        )
    if entry.record.data.protocol == "published":
        yield "The test set was looked at after every epoch (protocol published).", "top1"
    yield from _about_machine(entry)
    yield from _about_rounds_needed(entry)
    for measurement in entry.measured.values():
        if measurement.metric == "fit_images_per_second":
            continue  # an epoch of a training is no round of a comparison
        yield from ((text, _column(measurement)) for text in _about_rounds(measurement))
    yield from _about_comparison(entry)


def _about_machine(entry: Entry) -> Iterator[tuple[str, str]]:
    environment = entry.record.environment
    if environment.get("git_dirty") is True:
        yield "The code had changes that are in no commit.", ""
    load, cores = environment.get("load_average"), environment.get("num_cores")
    load = load[0] if isinstance(load, list) and load else load
    if isinstance(load, (int, float)) and isinstance(cores, (int, float)) and load > cores + 0.5:
        yield f"The machine was busy when this began: load {load:.1f} on {cores:.0f} cores.", ""
    threads = environment.get("num_threads")
    if (
        isinstance(threads, int)
        and isinstance(cores, int)
        and threads * _local_processes(entry) > cores
    ):
        yield f"{threads} threads a process are more than the {cores} cores.", ""


def _local_processes(entry: Entry) -> int:
    """Processes of the run on one machine, where it says so; else one."""
    value = entry.record.environment.get("local_processes")
    return value if isinstance(value, int) else 1


def _about_rounds_needed(entry: Entry) -> Iterator[tuple[str, str]]:
    """Rounds that are too few to prove anything of the pairs of this comparison, and how many would do."""
    models = len(entry.run.comparison.models) if entry.run.comparison else 0
    needed = rounds_needed(models * (models - 1) // 2)
    measured = entry.measured.get(SPEEDS[0])
    if models > 1 and measured and MIN_VALUES <= len(measured.merged) < needed:
        yield (
            f"{len(measured.merged)} rounds can't prove a difference among {models} models: it takes {needed}.",
            SPEEDS[0],
        )


def _about_rounds(measurement: Measurement) -> Iterator[str]:
    values = np.asarray(measurement.merged)
    if measurement.images is not None and len(values) < MIN_VALUES:
        yield f"Fewer than {MIN_VALUES} rounds: no interval and no verdict; it takes {MIN_VALUES}."
    if len(values) < 3 * MIN_VALUES:
        return
    third = len(values) // 3
    drift = float(np.median(values[-third:]) / np.median(values[:third])) - 1
    if abs(drift) > DRIFT:
        yield "Drifted by more than 5 % between the first and the last third of the rounds."
    low, middle, high = np.percentile(values, [25, 50, 75])
    if (high - low) / middle > SPREAD:
        yield "The middle half of the rounds spreads over more than 25 %."


def _column(measurement: Measurement) -> str:
    return "latency_ms_p50" if measurement.metric == "latency_ms" else measurement.metric


def _about_comparison(entry: Entry) -> Iterator[tuple[str, str]]:
    comparison = entry.run.comparison
    if comparison is None:
        return
    for each in entry.run.rounds:
        yield from condition_warnings(each)
    for name, reason in comparison.missing.items():
        if name == entry.model or name.startswith(
            (f"{entry.model}:", f"{entry.model} ", f"{entry.model}/")
        ):
            yield (
                f"Not measured ({name.removeprefix(entry.model).strip(' :/') or 'any'}): {reason}",
                "",
            )


COLUMNS_OF = {
    "train": ("train_images_per_second", "train_step_images_per_second"),
    "infer": ("infer_images_per_second",),
    "latency": ("latency_ms_p50",),
    "sweep": ("infer_best_images_per_second",),
}
OTHER_CORES = 0.25
STOLEN_CORES = 0.02
STOPPED = 0.01  # of the time


def condition_warnings(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Every warning with the column that it touches."""
    for part, found in comparison.conditions.items():
        for text in _faults(found):
            yield from ((text, column) for column in COLUMNS_OF.get(part, ()))


def _faults(found: Mapping[str, float]) -> Iterator[str]:
    if found.get("other_cores", 0) > OTHER_CORES:
        yield f"Other processes took {found['other_cores']:.1f} cores meanwhile."
    if found.get("stolen_cores", 0) > STOLEN_CORES:
        yield f"The host of this virtual machine took {found['stolen_cores']:.2f} cores away meanwhile."
    if found.get("stopped_seconds", 0) > STOPPED * found.get("seconds", 0):
        yield f"The run was stopped for {found['stopped_seconds']:.1f} s meanwhile, for its container's quota."
    if found.get("heat_events", 0) > 0:
        yield f"The processor was slowed {found['heat_events']:.0f} times meanwhile because it was hot."
    if found.get("gpu_slowed", 0) > 0:
        yield "The GPU ran below its clocks, for heat or power."
