"""Training curves for the page: short lists of numbers, thinned where there are very many."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.record import Epoch
from reports.chart.palette import Mark
from reports.ranking import Entry

MAX_POINTS = 36_000  # of all curves together; more would double the page and can't be seen


def curves_of(entries: Sequence[Entry], order: Mapping[str, int], marks: Mapping[str, Mark]) -> list[dict[str, Any]]:
    """One curve a seed: the row's number, colour and dash, and a value an epoch (None where not evaluated)."""
    trained = [(entry, cell) for entry in entries for cell in entry.cells if cell.record.epochs]
    keep = max(20, MAX_POINTS // max(1, len(trained)))
    siblings: dict[str, list[str]] = {}
    for entry in entries:
        siblings.setdefault(entry.family, []).append(entry.key)
    return [
        {
            "i": order[entry.key],
            "seed": cell.record.seed,
            "hue": marks[entry.family].hue,
            "shape": marks[entry.family].shape,
            "dash": siblings[entry.family].index(entry.key),
            **_columns(thinned(cell.record.epochs, keep)),
        }
        for entry, cell in trained
    ]


def thinned(epochs: Sequence[Epoch], keep: int) -> list[Epoch]:
    """At most `keep` epochs, evenly spaced, with the first and the last."""
    if len(epochs) <= keep:
        return list(epochs)
    return [epochs[round(i * (len(epochs) - 1) / (keep - 1))] for i in range(keep)]


def _columns(epochs: Sequence[Epoch]) -> dict[str, list[Any]]:
    return {
        "epoch": [epoch.epoch + 1 for epoch in epochs],  # counted from 1, as the log does
        "seconds": [round(epoch.seconds, 2) for epoch in epochs],
        "images": [epoch.images for epoch in epochs],
        "loss": [round(epoch.train_loss, 4) for epoch in epochs],
        "top1": [round(epoch.evaluation.top1, 2) if epoch.evaluation else None for epoch in epochs],
    }
