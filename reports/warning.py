"""What a reader is warned of: the machine, the rounds, the comparison."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.results.interval import MIN_VALUES, rounds_needed
from bench.results.metric import FIGURES
from bench.results.record import Measurement
from reports.frame import columns_of
from reports.pairs import SPEEDS
from reports.ranking import Entry

# Above these a reader is warned: an idle machine stays below them.
MAX_DRIFT = 0.05  # of the rate, from the first to the last third of the rounds
MAX_SPREAD = 0.25  # between the quartiles, as a share of the median
BUSY_LOAD = 0.5  # above the number of cores: a load average of 2.3 on 2 cores is normal
MAX_OTHER_CORES = 0.25  # used by other processes, on average over a pass
MAX_STOLEN_CORES = 0.02  # taken by the host of a virtual machine
MAX_STOPPED = 0.01  # of the time of a pass


@dataclass(frozen=True)
class PageWarning:
    """A warning and the rows it concerns; `column` is empty if it concerns the whole row."""

    text: str
    keys: tuple[str, ...]
    column: str = ""


Found = Iterator[tuple[str, str]]  # text and column of each warning


def warnings_of(entries: Sequence[Entry]) -> list[PageWarning]:
    """Return all warnings of the page in a fixed order, one for all rows it concerns."""
    rows: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if not entry.finished:
            continue  # the row says itself why it has no figures
        for check in CHECKS:
            for warning in check(entry):
                rows.setdefault(warning, []).append(entry.key)
    return [PageWarning(text, tuple(keys), column) for (text, column), keys in rows.items()]


def check_accuracy(entry: Entry) -> Found:
    """Warn of accuracies that say less than they seem to."""
    if len(entry.finished) == 1 and "top1" in entry.numbers:
        yield "One seed: the spread between seeds is unknown and not in the interval.", "top1"
    look = entry.run.look
    if look is not None and look.copies.first:
        num_test = entry.record.data.num_test
        num_leaked = int(look.has_double(num_test).sum())
        share = 100 * num_leaked / num_test
        text = f"{num_leaked:,} of {num_test:,} test images ({share:.1f} %) show the same as"
        yield f"{text} a training image: see the column Top-1, no doubles.", "top1"
    if entry.record.data.protocol == "published":
        yield "The test set was evaluated after every epoch (protocol published).", "top1"


def check_machine(entry: Entry) -> Found:
    """Warn of code that can't be checked out again, and of a machine that was busy."""
    environment = entry.record.environment
    if environment.get("git_dirty") is True:
        yield "The code had uncommitted changes.", ""
    cores = environment.get("num_cores")
    if not isinstance(cores, (int, float)):
        return
    load = environment.get("load_average")
    if isinstance(load, list) and load:
        load = load[0]  # over one minute; the others are over five and fifteen
    if isinstance(load, (int, float)) and load > cores + BUSY_LOAD:
        yield f"The machine was busy at the start: load {load:.1f} on {cores:.0f} cores.", ""
    threads = environment.get("num_threads")
    processes = environment.get("local_processes")
    local_processes = processes if isinstance(processes, int) else 1
    if isinstance(threads, int) and threads * local_processes > cores:
        yield f"{threads} threads per process are more than the {cores} cores can run.", ""


def check_number_of_rounds(entry: Entry) -> Found:
    """Warn of rounds that could prove nothing even if all of them agreed."""
    measured = entry.measured.get(SPEEDS[0])
    if entry.run.comparison is None or measured is None:
        return
    models = len(entry.run.comparison.models)
    needed = rounds_needed(num_pairs=models * (models - 1) // 2)
    rounds = len(measured.merged)
    # With fewer than MIN_VALUES there is no interval either, which check_rounds says.
    if models > 1 and MIN_VALUES <= rounds < needed:
        text = f"{rounds} rounds can't prove a difference among {models} models: it takes {needed}."
        yield text, SPEEDS[0]


def check_rounds(entry: Entry) -> Found:
    """Warn of rounds that are too few, drift, or spread widely."""
    # Without what the training itself reached: it has epochs, not rounds of a comparison.
    own = {measurement.metric for measurement in entry.record.measurements}
    for measurement in entry.measured.values():
        if measurement.metric not in own:
            yield from _check_values(measurement)


def _check_values(measurement: Measurement) -> Found:
    columns = columns_of(measurement)
    column = columns[0].key if columns else measurement.metric
    values = np.asarray(measurement.merged)
    if measurement.images is not None and len(values) < MIN_VALUES:
        yield (
            f"Fewer than {MIN_VALUES} rounds: no interval, no verdict; it takes {MIN_VALUES}.",
            column,
        )
    # The median of a third needs as many values as an interval does.
    if len(values) < 3 * MIN_VALUES:
        return
    third = len(values) // 3
    first, last = np.median(values[:third]), np.median(values[-third:])
    drift = float(last / first) - 1
    if abs(drift) > MAX_DRIFT:
        yield "Drifted by more than 5 % between the first and the last third of the rounds.", column
    low, middle, high = np.percentile(values, [25, 50, 75])
    if (high - low) / middle > MAX_SPREAD:
        yield "The middle half of the rounds spreads over more than 25 % of the median.", column


def check_conditions(entry: Entry) -> Found:
    """Warn of what disturbed a pass of the comparison, at every column that the pass fills."""
    for comparison in entry.run.rounds:
        for part, conditions in comparison.conditions.items():
            columns = [column.key for column in FIGURES if column.disturbed_in == part]
            for text in _disturbances(conditions):
                yield from ((text, column) for column in columns)


def check_missing(entry: Entry) -> Found:
    """Say what the comparison left out of a model, and why."""
    comparison = entry.run.comparison
    if comparison is None:
        return
    # Reasons are kept under the model's name, or under that and a part: `lenet5: latency`.
    beginnings = tuple(f"{entry.model}{separator}" for separator in ": /")
    for name, reason in comparison.missing.items():
        if name == entry.model or name.startswith(beginnings):
            part = name.removeprefix(entry.model).strip(" :/")
            yield f"Not measured ({part or 'any'}): {reason}", ""


def _disturbances(conditions: Mapping[str, float]) -> Iterator[str]:
    other = conditions.get("other_cores", 0)
    if other > MAX_OTHER_CORES:
        yield f"Other processes used {other:.1f} cores during this measurement."
    stolen = conditions.get("stolen_cores", 0)
    if stolen > MAX_STOLEN_CORES:
        yield f"The host of this virtual machine took {stolen:.2f} cores during this measurement."
    stopped = conditions.get("stopped_seconds", 0)
    if stopped > MAX_STOPPED * conditions.get("seconds", 0):
        yield f"The container's quota stopped the run for {stopped:.1f} s during this measurement."
    heat_events = conditions.get("heat_events", 0)
    if heat_events > 0:
        yield f"The processor was throttled {heat_events:.0f} times because it was hot."
    if conditions.get("gpu_slowed", 0) > 0:
        yield "The GPU ran below its clock rate because of heat or its power limit."


# A new warning is a function and a line here; the page numbers them in this order.
CHECKS: tuple[Callable[[Entry], Found], ...] = (
    check_accuracy,
    check_machine,
    check_number_of_rounds,
    check_rounds,
    check_conditions,
    check_missing,
)
