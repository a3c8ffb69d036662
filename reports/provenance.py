"""Where the numbers come from: the page's title, the facts at its head, and the environment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.results.metric import METRICS
from reports.column import format_value
from reports.pairs import Floor
from reports.ranking import Entry
from reports.runs import Run, Source
from reports.verdict_text import noise_sentence

MAX_VALUES = 4  # of one fact, if runs differ; the rest is counted
# What a reader looks for first, in this order; the rest follows as the record has it.
FIRST_ROWS = (
    "machine",
    "cpu",
    "gpu",
    "num_gpus",
    "num_cores",
    "num_threads",
    "world_size",
    "memory_bytes",
    "backend",
    "precision",
    "tf32",
    "deterministic",
    "platform",
    "python",
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "cuda",
    "git_commit",
    "git_dirty",
    "load_average",
    "cpu_flags",
    "command",
)
PROTOCOLS = {
    "split": "selected on the validation set, the test set evaluated once",
    "published": "the test set evaluated after every epoch",
}
# What a comparison leaves out for all models if the machine can't measure it.
UNMEASURABLE = {
    **{name: metric.measure.name for name, metric in METRICS.items()},
    "device memory": "device memory",
}


@dataclass(frozen=True)
class EnvironmentRow:
    """One row of the environment: a name and its value in each run."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Return whether the runs have different values."""
        return len(set(self.values)) > 1


def title_of(entries: Sequence[Entry]) -> str:
    """Return the page's title: `8 models on cifar100`."""
    models = {entry.model for entry in entries}
    datasets = sorted({entry.record.data.name for entry in entries})
    subject = f"{len(models)} models" if len(models) > 1 else entries[0].model
    return f"{subject} on {' and '.join(datasets)}"


def facts_of(
    source: Source, entries: Sequence[Entry], floors: Mapping[str, Floor]
) -> list[tuple[str, str]]:
    """Return the facts at the page's head, each with its name, those that differ once each."""
    facts = []
    facts.append(("Data", _join_distinct(describe_data(entry) for entry in entries)))
    facts.append(("Rules", _join_distinct(describe_rules(entry) for entry in entries)))
    left_out = _join_distinct(_left_out(entry) for entry in entries)
    if left_out:
        facts.append(("Left out", left_out))
    facts.append(("Machine", _join_distinct(describe_machine(run) for run in source.runs)))
    noise = _join_distinct(noise_sentence(floor) for floor in floors.values())
    facts.append(("Noise floor", noise or "not measured"))
    missing = _join_distinct(_unmeasurable(run) for run in source.runs)
    if missing:
        facts.append(("Not measured", missing))
    facts.append(("When", _when(entries)))
    environments = [run.cells[0].record.environment for run in source.runs]
    commands = _join_distinct(str(each.get("command") or "") for each in environments)
    facts.append(("Command", commands or "not recorded"))
    return facts


def _join_distinct(values: Iterable[str]) -> str:
    """Return the distinct values that aren't empty, the last ones only counted if many."""
    distinct = list(dict.fromkeys(value for value in values if value))
    text = "; ".join(distinct[:MAX_VALUES])
    if len(distinct) > MAX_VALUES:
        text += f"; and {len(distinct) - MAX_VALUES} more"
    return text


def describe_data(entry: Entry) -> str:
    """Return what a row was trained and tested on."""
    data = entry.record.data
    name = f"{data.name} (a stand-in)" if data.stand_in else data.name
    images = (
        f"{data.num_train:,} training, {data.num_validation:,} validation, "
        f"{data.num_test:,} test images"
    )
    return f"{name}: {images}, {len(data.class_names)} classes"


def describe_rules(entry: Entry) -> str:
    """Return by which rules it was trained and tested."""
    record = entry.record
    precision = record.config.get("precision") or "unknown precision"
    rules = f"{PROTOCOLS[record.data.protocol]}; batch size {record.batch_size}, {precision}"
    trained, inferred = (record.environment.get(name) for name in ("kernels", "infer_kernels"))
    if trained and inferred:
        rules += f"; kernels: {trained} in training, {inferred} in inference"
    return rules


def _left_out(entry: Entry) -> str:
    """Return which models a slow machine has left out of the request, and why."""
    names = entry.record.config.get("left_out")
    if not isinstance(names, list) or not names:
        return ""
    least = entry.record.config.get("least_steps")
    return f"{', '.join(map(str, names))} (too slow here for {least} steps in the time asked for)"


def describe_machine(run: Run) -> str:
    """Return on what a run was made."""
    record = run.cells[0].record
    # A GPU's name says more than its host's CPU, and runs may have neither.
    names = [record.environment.get(name) for name in ("machine", "gpu", "cpu")]
    parts = [next((str(name) for name in names if name), "not recorded")]
    threads = record.environment.get("num_threads")
    if threads:
        parts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    if record.world_size > 1:
        parts.append(f"{record.world_size} processes")
    return ", ".join(parts)


def _unmeasurable(run: Run) -> str:
    """Return what this machine can't measure of any model, each with the reason."""
    missing = run.comparison.missing if run.comparison else {}
    known = {name: words for name, words in UNMEASURABLE.items() if name in missing}
    return ", ".join(f"{words} ({missing[name]})" for name, words in known.items())


def _when(entries: Sequence[Entry]) -> str:
    """Return when the first record was begun and the last one finished, to the minute."""
    times: list[str] = []
    for entry in entries:
        for cell in entry.cells:
            times.append(cell.record.created)
            if cell.record.finished:
                times.append(cell.record.finished)
    # ISO times of one zone sort as text.
    first, last = _to_the_minute(min(times)), _to_the_minute(max(times))
    return first if first == last else f"{first} to {last}"


def _to_the_minute(time: str) -> str:
    """Return an ISO time to the minute, with its zone: `2026-11-22 01:02 UTC`."""
    minute = time[: len("2026-11-22T01:02")].replace("T", " ")
    if time.endswith(("+00:00", "Z")):
        return f"{minute} UTC"
    return minute + time[len("2026-11-22T01:02:03") :]


def environment_rows(source: Source) -> list[EnvironmentRow]:
    """Return all that a number may depend on, a column for each run, and then the options."""
    # The first cell speaks for its run; cells of other settings are in other groups of the table.
    records = [run.cells[0].record for run in source.runs]
    recorded: dict[str, None] = {}
    options: dict[str, None] = {}
    for record in records:
        recorded |= dict.fromkeys(record.environment)
        options |= dict.fromkeys(record.config)
    options.pop("models", None)  # the table's rows say which
    first = [name for name in FIRST_ROWS if name in recorded]
    rows = []
    for name in dict.fromkeys([*first, *recorded]):
        shown = tuple(_value_text(name, record.environment.get(name)) for record in records)
        rows.append(EnvironmentRow(name, shown))
    for name in options:
        values = []
        for run in source.runs:
            texts = {_value_text(name, cell.record.config.get(name)) for cell in run.cells}
            # Such as the learning rate, which each model's part of the page shows.
            values.append(texts.pop() if len(texts) == 1 else "each model's own")
        rows.append(EnvironmentRow(f"option {name}", tuple(values)))
    # Without what no run has, such as the GPU of runs on a CPU.
    return [row for row in rows if any(row.values)]


def _value_text(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):  # before numbers: True is an int
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and name.endswith("_bytes"):
        return format_value(float(value), "bytes")
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
