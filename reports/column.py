"""The columns of the page's table as data, and how their numbers are written."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["percent", "rate", "ms", "bytes", "count", "seconds", "number"]


@dataclass(frozen=True)
class Column:
    """One column of figures: its key is that of the tidy CSV.

    `better` is None where no direction is better.
    """

    key: str
    title: str
    unit: str
    kind: Kind
    better: Literal["higher", "lower"] | None
    about: str
    shown: bool = True


COLUMNS = (
    Column(
        "top1", "Top-1", "%", "percent", "higher", "Test images whose most probable class is right"
    ),
    Column(
        "top5",
        "Top-5",
        "%",
        "percent",
        "higher",
        "Test images whose class is among the five most probable",
    ),
    Column(
        "superclass_top1",
        "Superclass",
        "%",
        "percent",
        "higher",
        "Test images whose superclass has the largest summed probability",
        shown=False,
    ),
    Column(
        "best_validation_top1",
        "Best validation",
        "%",
        "percent",
        "higher",
        "The highest validation top-1 of any epoch; top-1 is of the last one",
        shown=False,
    ),
    Column(
        "top1_best_on_test",
        "Best on test",
        "%",
        "percent",
        None,
        "The highest test top-1 of any epoch, chosen by looking: only to hold against tables that print it",
        shown=False,
    ),
    Column(
        "train_images_per_second",
        "Training",
        "images/s",
        "rate",
        "higher",
        "Training end to end: loader, forward, backward and update",
    ),
    Column(
        "train_step_images_per_second",
        "Step alone",
        "images/s",
        "rate",
        "higher",
        "The same step on a batch that is already there",
        shown=False,
    ),
    Column(
        "loader_images_per_second",
        "Loader alone",
        "images/s",
        "rate",
        "higher",
        "Batches made and dropped, without a model",
        shown=False,
    ),
    Column(
        "fit_images_per_second",
        "Reached",
        "images/s",
        "rate",
        "higher",
        "What the training itself reached, evaluation left out",
        shown=False,
    ),
    Column(
        "infer_images_per_second",
        "Inference",
        "images/s",
        "rate",
        "higher",
        "Forward passes alone, in batches",
    ),
    Column(
        "latency_ms_p50",
        "Latency p50",
        "ms",
        "ms",
        "lower",
        "One image at a time: the middle of all",
    ),
    Column(
        "latency_ms_p99",
        "Latency p99",
        "ms",
        "ms",
        "lower",
        "One image at a time: 99 of 100 are faster",
        shown=False,
    ),
    Column(
        "peak_memory_bytes",
        "Peak memory",
        "",
        "bytes",
        "lower",
        "GPU: peak allocated; CPU: peak resident memory of a fresh process less its value after imports",
    ),
    Column(
        "infer_best_images_per_second",
        "Best inference",
        "images/s",
        "rate",
        "higher",
        "Forward passes in the batch that was fastest",
        shown=False,
    ),
    Column(
        "infer_best_batch",
        "Its batch",
        "",
        "number",
        None,
        "The batch of the fastest forward passes",
        shown=False,
    ),
    Column(
        "first_step_seconds",
        "First step",
        "",
        "seconds",
        "lower",
        "From nothing to the end of the first training step",
        shown=False,
    ),
    Column(
        "communication_percent",
        "Communication",
        "%",
        "percent",
        "lower",
        "Of a training step, for the exchange of gradients between processes",
        shown=False,
    ),
    Column(
        "train_gflops_per_second",
        "Got out",
        "GFLOP/s",
        "rate",
        "higher",
        "Floating point operations a second in training: six for each multiply-add",
        shown=False,
    ),
    Column(
        "energy_joules_per_image",
        "Energy",
        "J/image",
        "rate",
        "lower",
        "Of training an image, as the processor or the GPU counts it",
        shown=False,
    ),
    Column("num_parameters", "Parameters", "", "count", "lower", "Trained numbers"),
    Column(
        "multiply_adds",
        "Multiply-adds",
        "",
        "count",
        "lower",
        "Of one image's forward pass; convolutions and linear layers",
    ),
    Column(
        "train_seconds",
        "Trained for",
        "",
        "seconds",
        None,
        "Wall time of training, without evaluation",
    ),
    Column("epochs", "Epochs", "", "number", None, "Passes over the training set", shown=False),
)
BY_KEY = {column.key: column for column in COLUMNS}


def show(value: float, kind: Kind) -> str:
    """Write a number for a reader.

    About three digits, thousands apart, large units where they help.
    """
    if kind == "percent":
        return f"{value:.1f}"
    if kind == "bytes":
        return (
            f"{_three_digits(value / 1e6)} MB"
            if value < 1e9
            else f"{_three_digits(value / 1e9)} GB"
        )
    if kind == "count":
        return _scaled(value)
    if kind == "seconds":
        return f"{_three_digits(value)} s" if value < 120 else f"{value / 60:,.1f} min"
    return _three_digits(value)


def show_column(value: float, key: str) -> str:
    """Write a number of the column `key`, with its unit."""
    column = BY_KEY[key]
    return f"{show(value, column.kind)} {column.unit}".strip()


def _scaled(value: float) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{_three_digits(value / size)}{letter}"
    return f"{value:.0f}"


def _three_digits(value: float) -> str:
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.2g}"
