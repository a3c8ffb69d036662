"""What is said of rows that were measured or trained while other processes were at work."""

from collections.abc import Iterable, Iterator

from bench.results.metric import METRICS
from bench.results.record import Measurement, RunRecord
from bench.results.verdict import DISTURBANCE
from reports.ranking import Entry

MARK = "*"  # behind a figure in the terminal's table
NAMES = {"train": "training", "infer": "inference"}  # of passes, for a reader


def describe_disturbances(entries: Iterable[Entry]) -> list[str]:
    """Return a sentence for every pass of a run, and every training, that others disturbed."""
    found: dict[str, None] = {}
    for entry in entries:
        found |= dict.fromkeys(_of_measuring(entry))
        found |= dict.fromkeys(_of_training(entry))
    return list(found)


def _of_measuring(entry: Entry) -> Iterator[str]:
    passes: dict[str, float] = {}
    for row in _timed_rows(entry):
        if row.disturbed and row.metric in METRICS:
            name = METRICS[row.metric].measure.name
            passes[name] = max(row.disturbed, passes.get(name, 0.0))
    if not passes:
        return
    *first, last = [NAMES.get(name, name) for name in passes]
    words = f"{', '.join(first)} and {last}" if first else last
    was = "were" if first else "was"
    yield (
        f"{_others(max(passes.values()), entry.record)} while {words} {was} measured "
        f"({entry.run.name}): these figures are not the models' own, and no winner is claimed"
    )


def _timed_rows(entry: Entry) -> Iterator[Measurement]:
    for comparison in entry.run.rounds:
        yield from comparison.measurements.get(entry.model, ())
        yield from comparison.sweeps.get(entry.model, ())


def _of_training(entry: Entry) -> Iterator[str]:
    for cell in entry.finished:
        taken = taken_in_training(cell.record)
        if taken <= DISTURBANCE:
            continue
        budget = cell.record.config.get("seconds")
        cost = f", which left it fewer steps in its {budget:g} s" if budget else ""
        others = _others(taken, cell.record)
        # The page begins a sentence with a capital, which a model's name may not have.
        yield f"{others} while {entry.model} (seed {cell.record.seed}) was trained{cost}"


def taken_in_training(record: RunRecord) -> float:
    """Return how many cores others took while a cell was trained, on average over its time."""
    total, core_seconds, before = 0.0, 0.0, 0.0
    for row in record.epochs:
        if row.taken_cores is not None:
            total += row.seconds - before
            core_seconds += row.taken_cores * (row.seconds - before)
        before = row.seconds
    return core_seconds / total if total > 0 else 0.0


def _others(taken: float, record: RunRecord) -> str:
    cores = record.environment.get("num_cores")
    if not isinstance(cores, int):
        return f"another process used {taken:.1f} cores"
    return f"another process used {taken:.1f} of {cores} cores"


def is_disturbed(entry: Entry, column: str) -> bool:
    """Return whether others disturbed what a row shows in a column."""
    rows = {row.metric: row for row in _timed_rows(entry) if row.disturbed}
    for name in rows:
        if any(each.key == column for each in METRICS[name].columns):
            return True
    if column != "top1":
        return False
    # Of a budget of seconds others took a part; one of epochs only lasts longer.
    records = [cell.record for cell in entry.finished if cell.record.config.get("seconds")]
    return any(taken_in_training(record) > DISTURBANCE for record in records)
