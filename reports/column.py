"""The columns of the page's table as data, and how their numbers are written."""

from bench.results.metric import FIGURES, Column, Kind

# What a training says of itself stands around what was measured.
ACCURACIES = (
    Column(
        key="top1",
        title="Top-1",
        unit="%",
        kind="percent",
        better="higher",
        as_difference=True,
        about="Test images whose most probable class is right",
        terminal="top-1 %",
    ),
    Column(
        key="top5",
        title="Top-5",
        unit="%",
        kind="percent",
        better="higher",
        as_difference=True,
        about="Test images whose class is among the five most probable",
    ),
    Column(
        key="superclass_top1",
        title="Superclass",
        unit="%",
        kind="percent",
        better="higher",
        as_difference=True,
        about="Test images whose superclass has the largest summed probability",
        shown=False,
    ),
    Column(
        key="best_validation_top1",
        title="Best validation",
        unit="%",
        kind="percent",
        better="higher",
        as_difference=True,
        about="The highest validation top-1 of any epoch; top-1 is of the last one",
        shown=False,
    ),
    Column(
        key="top1_best_on_test",
        title="Best on test",
        unit="%",
        kind="percent",
        about=(
            "The highest test top-1 of any epoch, chosen by looking: only to hold against tables "
            "that print it"
        ),
        shown=False,
    ),
)
COSTS = (
    Column(
        key="num_parameters",
        title="Parameters",
        kind="count",
        better="lower",
        about="Trained numbers",
        terminal="params",
        tradeoff=True,
    ),
    Column(
        key="multiply_adds",
        title="Multiply-adds",
        kind="count",
        better="lower",
        about="Of one image's forward pass; convolutions and linear layers",
        tradeoff=True,
    ),
    Column(
        key="train_seconds",
        title="Trained for",
        kind="seconds",
        about=(
            "Wall time of training, without evaluation; features from the cache count as the time "
            "that they once took, folds as one of them"
        ),
    ),
    Column(key="epochs", title="Epochs", about="Passes over the training set", shown=False),
)
MEASURED = tuple(column for column in FIGURES if column.title)
COLUMNS = (*ACCURACIES, *MEASURED, *COSTS)
BY_KEY = {column.key: column for column in COLUMNS}


def format_value(value: float, kind: Kind) -> str:
    """Write a number for a reader: about three digits, thousands apart, large units."""
    if kind == "percent":
        return f"{value:.1f}"
    if kind == "bytes":
        # Decimal units, as files and memory are sold; the CSV has every byte.
        size, unit = (1e6, "MB") if value < 1e9 else (1e9, "GB")
        return f"{_three_digits(value / size)} {unit}"
    if kind == "count":
        return _scaled(value)
    if kind == "seconds":
        return f"{_three_digits(value)} s" if value < 120 else f"{value / 60:,.1f} min"
    return _three_digits(value)


def format_figure(value: float, key: str) -> str:
    """Write a number of the column `key`, with its unit."""
    column = BY_KEY[key]
    return f"{format_value(value, column.kind)} {column.unit}".strip()


def _scaled(value: float) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{_three_digits(value / size)}{letter}"
    return f"{value:.0f}"


def _three_digits(value: float) -> str:
    # The bounds are those at which rounding would add a digit: 99.95 is written 100.
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    if abs(value) >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.2g}"
