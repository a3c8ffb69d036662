"""Each model's part of the page: what it is, its layers, its answers, and the command that repeats it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.record import RunRecord
from reports.chart.classes import MAX_ROWS, answers_data
from reports.picture import filters_of, samples_of
from reports.ranking import Entry, Group

FACTS = (("source", "Source"), ("year", "Year"), ("paper", "Paper"), ("image_size", "Own image size"), ("stem", "Stem"),
         ("total_stride", "Total stride"), ("notes", "Notes"))  # fmt: skip


def models_data(groups: Sequence[Group], order: Mapping[str, int]) -> dict[str, Any]:
    """All models' parts, the data sets whose class names they use, and the pictures."""
    entries = [entry for group in groups for entry in group.entries]
    datasets: dict[str, int] = {}
    parts = []
    for group in groups:
        with_answers = len(group.entries) <= MAX_ROWS
        for entry in group.entries:
            number = datasets.setdefault(entry.record.data.checksum, len(datasets))
            parts.append(_part(entry, order, number, with_answers))
    names = {number: checksum for checksum, number in datasets.items()}
    return {
        "models": parts,
        "datasets": [_dataset(entries, names[number]) for number in range(len(names))],
        "samples": samples_of(entries[:MAX_ROWS], order),
        "filters": filters_of(entries, order),
    }


def _part(entry: Entry, order: Mapping[str, int], dataset: int, with_answers: bool) -> dict[str, Any]:
    record = entry.record
    return {
        "i": order[entry.key],
        "dataset": dataset,
        "facts": [[title, str(record.spec[key])] for key, title in FACTS if record.spec.get(key) not in (None, "", [])]
        + _started(record),
        "layers": [
            [x.name, x.kind, "×".join(map(str, x.output_shape)), x.num_parameters, x.multiply_adds, x.activation_bytes]
            for x in record.layers
        ],
        "command": command_of(entry),
        "environment": ", ".join(
            f"{name} {record.environment[name]}"
            for name in ("machine", "torch", "git_commit")
            if record.environment.get(name)
        ),
        "seeds": [
            [c.record.seed, c.record.status, c.record.accuracy.top1 if c.record.accuracy else None] for c in entry.cells
        ],
        **(answers_data(entry) if with_answers else {}),
    }


def _started(record: RunRecord) -> list[list[str]]:
    """How a model's training began: its peak rate, and the weights that it was given."""
    rate, given = record.config.get("lr"), record.spec.get("pretrained")
    facts = [["Peak learning rate", f"{rate:g}"]] if isinstance(rate, int | float) else []
    if not isinstance(given, dict):
        return facts
    new = given.get("new")
    text = (
        f"{given.get('from')}; new: {', '.join(map(str, new))}" if isinstance(new, list) and new else given.get("from")
    )
    return [*facts, ["Starts from", str(text)]]


def command_of(entry: Entry) -> str:
    """The recorded command, if there is one."""
    command = entry.record.environment.get("command")
    return command if isinstance(command, str) else ""


def _dataset(entries: Sequence[Entry], checksum: str) -> dict[str, Any]:
    data = next(entry.record.data for entry in entries if entry.record.data.checksum == checksum)
    return {"classes": data.class_names, "superclasses": data.superclass_names}
