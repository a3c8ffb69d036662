"""Training curves for the page: short lists of numbers, thinned where there are very many."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.record import Epoch
from reports.chart.figure import Figure
from reports.chart.palette import Mark
from reports.ranking import Entry

MAX_POINTS = 36_000  # of all curves together; more would double the page and can't be seen


def curves_of(
    entries: Sequence[Entry], order: Mapping[str, int], marks: Mapping[str, Mark]
) -> list[dict[str, Any]]:
    """One curve a seed.

    The row's number, colour and dash, and a value an epoch (None where not evaluated).
    """
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


WHOLE_TICKS = 12  # epochs up to which each has a tick
CURVES = (
    ("epoch", "Epoch", "epoch"),
    ("seconds", "Training time (s)", "time"),
    ("images", "Images seen", "images"),
)


def curve_figures(entries: Sequence[Entry]) -> list[Figure]:
    """Training curves by epoch, time and images.

    The page's script makes the traces from the curves' data.
    """
    with_curves = [e for e in entries if any(cell.record.epochs for cell in e.cells)]
    if not with_curves:
        return []
    figures = []
    longest = max(
        cell.record.epochs[-1].epoch + 1
        for entry in with_curves
        for cell in entry.cells
        if cell.record.epochs
    )
    whole = {"xaxis": {"dtick": 1}} if longest <= WHOLE_TICKS else {}
    for value, title, caption in (
        ("top1", "Validation top-1 (%)", _curve_caption(with_curves)),
        ("loss", "Training loss", _loss_caption(with_curves)),
    ):
        if value == "top1" and not any(_evaluated(entry) for entry in with_curves):
            continue
        figures += [
            Figure(
                f"curve-{value}-{axis}",
                "curve",
                "Training curves",
                f"{title.split(' (')[0]} by {short}",
                caption,
                (),
                x,
                title,
                layout=whole if axis == "epoch" else {},
                kind="curve",
                wide=True,
            )
            for axis, x, short in CURVES
        ]
    return figures


def _evaluated(entry: Entry) -> bool:
    return any(epoch.evaluation for cell in entry.cells for epoch in cell.record.epochs)


def _curve_caption(entries: Sequence[Entry]) -> str:
    peaks = [
        (
            max(epoch.evaluation.top1 for epoch in cell.record.epochs if epoch.evaluation),
            entry.model,
        )
        for entry in entries
        for cell in entry.cells
        if any(epoch.evaluation for epoch in cell.record.epochs)
    ]
    top1, model = max(peaks)
    return f"The highest validation top-1 of any epoch is {top1:.1f} %, of {model[:60]}. One line a seed."


def _loss_caption(entries: Sequence[Entry]) -> str:
    lasts = [
        (cell.record.epochs[-1].train_loss, e.model)
        for e in entries
        for cell in e.cells
        if cell.record.epochs
    ]
    loss, model = min(lasts)
    return f"The lowest training loss at the end is {loss:.2f}, of {model[:60]}. One line a seed."
