"""Where the numbers come from.

The page's title, the facts at its head and the panel of the environment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.column import show
from reports.pairs import Floor
from reports.ranking import Entry
from reports.runs import Run, Source
from reports.verdict_text import noise_sentence

FIRST = (
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


@dataclass(frozen=True)
class EnvironmentRow:
    """One line of the panel: a name and its value in each run; `differs` if they don't agree."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs don't agree."""
        return len(set(self.values)) > 1


def title_of(entries: Sequence[Entry]) -> str:
    """`8 models on cifar100`."""
    models = {entry.model for entry in entries}
    data = sorted({entry.record.data.name for entry in entries})
    count = f"{len(models)} models" if len(models) > 1 else next(iter(models))
    return f"{count} on {' and '.join(data)}"


def facts_of(
    source: Source, entries: Sequence[Entry], floors: Mapping[str, Floor]
) -> list[tuple[str, str]]:
    """The facts at the head: data, rules, machine, noise floor, when and by which command."""
    facts = [("Data", _joined(_data(entry) for entry in entries))]
    facts.append(("Rules", _joined(_rules(entry) for entry in entries)))
    facts.append(("Machine", _joined(_machine(run) for run in source.runs)))
    noise = [noise_sentence(floor) for floor in floors.values()]
    facts.append(("Noise floor", _joined(noise) or "not measured"))
    missing = _joined(_missing(run) for run in source.runs)
    facts += [("Not measured", missing)] if missing else []
    facts.append(("When", _when(entries)))
    facts.append(
        ("Command", _joined(_text(run, "command") for run in source.runs) or "not recorded")
    )
    return facts


def _joined(values: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(value for value in values if value))
    return "; ".join(distinct[:4]) + (
        f"; and {len(distinct) - 4} more" if len(distinct) > 4 else ""
    )


def _data(entry: Entry) -> str:
    data = entry.record.data
    counts = f"{data.num_train:,} training, {data.num_validation:,} validation, {data.num_test:,} test images"
    return f"{data.name}{' (a stand-in)' if data.stand_in else ''}: {counts}, {len(data.class_names)} classes"


def _rules(entry: Entry) -> str:
    record = entry.record
    protocol = {
        "split": "chosen on validation, the test set read once",
        "published": "the test set read at every epoch",
    }[record.data.protocol]
    return f"{protocol}; batch {record.batch_size}, {record.config.get('precision') or 'unknown precision'}"


def _machine(run: Run) -> str:
    environment = run.cells[0].record.environment
    machine = (
        environment.get("machine")
        or environment.get("gpu")
        or environment.get("cpu")
        or "not recorded"
    )
    threads, world = environment.get("num_threads"), run.cells[0].record.world_size
    parts = [
        f"{threads} thread{'s' * (threads != 1)}" if threads else "",
        f"{world} processes" if world > 1 else "",
    ]
    return ", ".join([str(machine), *(part for part in parts if part)])


def _missing(run: Run) -> str:
    """What this machine can't measure of any model, and why."""
    names = {"energy_joules_per_image": "energy", "device memory": "memory of a device"}
    missing = run.comparison.missing if run.comparison else {}
    return ", ".join(
        f"{words} ({missing[name]})" for name, words in names.items() if name in missing
    )


def _when(entries: Sequence[Entry]) -> str:
    times = [
        t for e in entries for c in e.cells for t in (c.record.created, c.record.finished) if t
    ]
    first, last = _minute(min(times)), _minute(max(times))
    return first if first == last else f"{first} to {last}"


def _minute(time: str) -> str:
    """An ISO time to the minute; another text as it is."""
    return time[:16].replace("T", " ") + (
        " UTC" if time.endswith(("+00:00", "Z")) else time[19:] if len(time) > 19 else ""
    )


def _text(run: Run, name: str) -> str:
    value = run.cells[0].record.environment.get(name)
    return "" if value is None else str(value)


def environment_rows(source: Source) -> list[EnvironmentRow]:
    """Everything that a number may depend on, a column a run, then the options of the run."""
    found = [run.cells[0].record for run in source.runs]
    names = list(dict.fromkeys(name for record in found for name in record.environment))
    ordered = [name for name in FIRST if name in names] + [
        name for name in names if name not in FIRST
    ]
    rows = [
        EnvironmentRow(name, tuple(_shown(name, r.environment.get(name)) for r in found))
        for name in ordered
    ]
    options = dict.fromkeys(name for record in found for name in record.config if name != "models")
    rows += [
        EnvironmentRow(f"option {n}", tuple(_option(n, run) for run in source.runs))
        for n in options
    ]
    return [row for row in rows if any(row.values)]


def _option(name: str, run: Run) -> str:
    """An option of a run; a rate that every model has of its own is told in the models' parts."""
    values = dict.fromkeys(_shown(name, cell.record.config.get(name)) for cell in run.cells)
    return next(iter(values)) if len(values) == 1 else "each model's own"


def _shown(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and name.endswith("_bytes"):
        return show(float(value), "bytes")
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
