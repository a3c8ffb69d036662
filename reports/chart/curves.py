"""Training curves: short lists of numbers, thinned where there are very many."""

from collections.abc import Sequence
from typing import Any

from bench.results.record import Epoch
from reports.chart.figure import Chart, Figure, caption_name
from reports.ranking import Entry
from reports.runs import Cell
from reports.view import View

MAX_POINTS = 36_000  # of all curves together; more would double the page and can't be seen
MIN_POINTS = 20  # that a curve keeps in any case
MAX_EPOCH_TICKS = 12  # epochs up to which each has a tick

CURVES = Chart("curve", "Training curves", wide=True, kind="curve")
# What a curve is drawn over: its key in the data, its axis, and the word in the tab.
PROGRESS = (
    ("epoch", "Epoch", "epoch"),
    ("seconds", "Training time (s)", "time"),
    ("images", "Images seen", "images"),
)

CURVE_COLUMNS = ("epoch", "seconds", "images", "loss", "top1")

Trained = list[tuple[Entry, Cell]]  # seeds with an epoch at least, each with its row


def _trained(entries: Sequence[Entry]) -> Trained:
    cells: Trained = []
    for entry in entries:
        cells += [(entry, cell) for cell in entry.cells if cell.record.epochs]
    return cells


def curves_data(view: View) -> list[dict[str, Any]]:
    """Return a curve for each seed: its row's number, its mark, and a value for each epoch.

    Validation top-1 is None for epochs that were not evaluated.
    """
    trained = _trained(view.entries)
    most = max(MIN_POINTS, MAX_POINTS // max(1, len(trained)))
    # Models of a family share a hue and a shape; a dash of its own tells each from the others.
    siblings: dict[str, list[str]] = {}
    for entry in view.entries:
        siblings.setdefault(entry.family, []).append(entry.key)
    curves = []
    for entry, cell in trained:
        mark = view.marks[entry.family]
        dash = siblings[entry.family].index(entry.key)
        curve = {
            "i": view.row_numbers[entry.key],
            "seed": cell.record.seed,
            "hue": mark.hue,
            "shape": mark.shape,
            "dash": dash,
        }
        curves.append(curve | _columns(thin_out(cell.record.epochs, most)))
    return curves


def thin_out(epochs: Sequence[Epoch], most: int) -> list[Epoch]:
    """Return at most this many epochs, evenly spaced, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(i * last / (most - 1))] for i in range(most)]


def _columns(epochs: Sequence[Epoch]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in CURVE_COLUMNS}
    for epoch in epochs:
        evaluation = epoch.evaluation
        columns["epoch"].append(epoch.epoch + 1)  # counted from 1, as the log does
        columns["seconds"].append(round(epoch.seconds, 2))
        columns["images"].append(epoch.images)
        # No more digits than a screen shows: they are most of a large page.
        columns["loss"].append(round(epoch.train_loss, 4))
        columns["top1"].append(round(evaluation.top1, 2) if evaluation else None)
    return columns


def draw_curves(view: View) -> list[Figure]:
    """Return validation top-1 and training loss, each by epoch, time and images.

    Where the budget was time, by time first.
    """
    trained = _trained(view.entries)
    if not trained:
        return []
    num_epochs = max(cell.record.epochs[-1].epoch + 1 for _, cell in trained)
    # Where the budget is time, epochs say how fast a model is before they say how well it learns.
    in_time = all(cell.record.config.get("seconds") is not None for _, cell in trained)
    progress = sorted(PROGRESS, key=lambda row: row[0] != "seconds") if in_time else PROGRESS
    figures = []
    highest = _highest_top1(trained)
    if highest is not None:
        top1, name = highest
        caption = f"The highest validation top-1 of any epoch is {top1:.1f} %, by {name}. "
        caption += "One line for each seed."
        figures += _by_progress(progress, "top1", "Validation top-1", " (%)", caption, num_epochs)
    losses = [(cell.record.epochs[-1].train_loss, caption_name(entry)) for entry, cell in trained]
    loss, name = min(losses)
    caption = f"The lowest training loss at the end is {loss:.2f}, by {name}. "
    caption += "One line for each seed."
    return figures + _by_progress(progress, "loss", "Training loss", "", caption, num_epochs)


def _highest_top1(trained: Trained) -> tuple[float, str] | None:
    """Return the highest validation top-1 of any epoch and its model; None without any."""
    found = []
    for entry, cell in trained:
        name = caption_name(entry)
        evaluated = [epoch.evaluation for epoch in cell.record.epochs if epoch.evaluation]
        found += [(evaluation.top1, name) for evaluation in evaluated]
    return max(found, default=None)


def _by_progress(
    progress: Sequence[tuple[str, str, str]],
    value: str,
    title: str,
    unit: str,
    caption: str,
    num_epochs: int,
) -> list[Figure]:
    figures = []
    for over, x, word in progress:
        layout: dict[str, Any] = {}
        if over == "epoch" and num_epochs <= MAX_EPOCH_TICKS:
            layout["xaxis"] = {"dtick": 1}
        key, tab = f"curve-{value}-{over}", f"{title} by {word}"
        figures.append(Figure(CURVES, caption, (), x, title + unit, layout, key, tab))
    return figures
