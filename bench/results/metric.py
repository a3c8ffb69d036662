"""The table of all metrics: what is measured, how, and how its figures are shown. No torch.

A new measurement is an entry of TABLE here and the function in bench/measure that takes it. The
choices of --measure, the fields of the CSV, the columns, charts and notes of the page, and what
verify expects are read from the table.
"""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from bench.results.way import LIBRARIES, LOADS, WAYS

Better = Literal["higher", "lower"]
Merge = Literal["slowest", "largest", "sum"]
Kind = Literal["percent", "rate", "ms", "bytes", "count", "seconds", "number"]
Statistic = Literal["value", "p50", "p95", "p99"]
Taken = Literal[
    "in turn",  # the models visited round by round (visit.py)
    "at growing batches",  # visit.py
    "once",  # by a function of its own, a model after the other (once.py)
    "in a fresh process",  # memory.py
    "of the machine",  # machine.py
    "at the first step",  # of every model that is built to be measured
    "in training",  # by the cell, into its record
    "of the exported file",  # deployed.py
]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A choice of --measure, or what is measured whatever is chosen; it gives a metric or more."""

    name: str
    taken: Taken
    share: float = 0.0  # of --measure-seconds
    about: str = ""  # in --help, where the name alone doesn't say it


TRAIN = Measure(name="train", taken="in turn", share=0.65)
INFER = Measure(name="infer", taken="in turn", share=0.15)
LATENCY = Measure(name="latency", taken="in turn", share=0.1)
SWEEP = Measure(
    name="sweep", taken="at growing batches", share=0.1, about="inference at growing batches"
)
MEMORY = Measure(name="memory", taken="in a fresh process")
MACHINE = Measure(
    name="machine", taken="of the machine", about="the peak of its products and copies"
)
ENERGY = Measure(name="energy", taken="once")
DEPLOY = Measure(
    name="deploy",
    taken="in turn",
    share=0.5,
    about="the exported file under torch, torch.compile, onnxruntime, OpenVINO",
)
EXPORT = Measure(name="exported file", taken="of the exported file")
FIRST_STEP = Measure(name="first step", taken="at the first step")
TRAINING = Measure(name="training", taken="in training")

# Every record holds them in this order, which --resume compares.
CHOICES = (TRAIN, INFER, LATENCY, SWEEP, MEMORY, MACHINE, ENERGY, DEPLOY)
MEASURES = tuple(measure.name for measure in CHOICES)
# Unless asked otherwise: torch.compile takes minutes a model, and the other libraries are extras.
USUAL_MEASURES = tuple(measure.name for measure in CHOICES if measure is not DEPLOY)

_DESCRIBED = [f"{measure.name} ({measure.about})".removesuffix(" ()") for measure in CHOICES]
MEASURE_HELP = (
    f"What to measure after training: {', '.join(_DESCRIBED)}; none for none. {DEPLOY.name} is "
    "measured only where it is named."
)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Unit and direction of raw values, and how those of several ranks become the world's."""

    unit: str
    better: Better
    merge: Merge
    kind: Kind = "number"  # how a reader sees a figure of it
    shown_unit: str = ""  # empty where the figure's text has it (`3.2 MB`)
    may_be_zero: bool = False


# Stored as the seconds that a number of images took: a rate is made of them when it is read.
RATE = Quantity(
    unit="images/s", better="higher", merge="slowest", kind="rate", shown_unit="images/s"
)
SECONDS = Quantity(unit="s", better="lower", merge="slowest", kind="seconds")
MILLISECONDS = Quantity(unit="ms", better="lower", merge="slowest", kind="ms", shown_unit="ms")
BYTES = Quantity(unit="bytes", better="lower", merge="largest", kind="bytes", may_be_zero=True)
# 0 from ranks whose meter another rank of their machine reads.
JOULES = Quantity(
    unit="J",
    better="lower",
    merge="sum",
    kind="rate",
    shown_unit="J/image",
    may_be_zero=True,
)
FLOPS = Quantity(unit="FLOP/s", better="higher", merge="sum")
SHARE = Quantity(
    unit="%",
    better="higher",
    merge="largest",
    kind="percent",
    shown_unit="%",
    may_be_zero=True,
)
COUNT = Quantity(unit="images", better="higher", merge="largest", kind="count")
TRAFFIC = Quantity(unit="bytes/s", better="higher", merge="sum")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure of a row: a field of the tidy CSV and, with a title, a column of the page.

    Without a statistic `reports/frame.py` works it out of several measurements, or of what was said
    of each test image. `better` is None
    where no direction is better.
    """

    key: str = ""  # of a metric's column: the metric's name, unless it is said
    statistic: Statistic | None = "value"
    title: str = ""
    unit: str = ""
    kind: Kind = "number"
    better: Better | None = None
    about: str = ""  # a sentence for the page
    shown: bool = True  # on the page before a reader chooses
    terminal: str = ""  # its heading in the terminal's table, where it is in it
    as_difference: bool = False  # models are held against each other by it, not by a ratio
    tradeoff: bool = False  # charted against accuracy
    bar: str = ""  # its name in the chart of what a step holds in memory
    disturbed_in: str = ""  # what else the machine did during that measure is noted at it


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity that is measured, and the columns that it gives."""

    name: str
    quantity: Quantity
    measure: Measure
    columns: tuple[Column, ...] = ()
    speed: bool = False  # models are held against each other by it, round by round

    @property
    def per_batch(self) -> bool:
        """Whether values are the seconds of one batch of the model's own size."""
        return self.quantity.unit == RATE.unit and self.measure.taken == "in turn"

    @property
    def is_sampled(self) -> bool:
        """Whether it has noise, and a value a round to tell how much."""
        return self.quantity.unit != BYTES.unit and self.measure.taken == "in turn"


def _metric(
    name: str, quantity: Quantity, measure: Measure, *columns: Column, speed: bool = False
) -> Metric:
    """Build an entry whose columns are named and written as it is."""
    written = tuple(
        replace(
            column,
            key=column.key or name,
            unit=quantity.shown_unit,
            kind=quantity.kind,
            better=quantity.better,
        )
        for column in columns
    )
    return Metric(name=name, quantity=quantity, measure=measure, columns=written, speed=speed)


def _of_images(key: str, title: str, about: str, better: Better | None, unit: str = "") -> Column:
    """Build a column of what a model said of each test image (reliability.py)."""
    return Column(
        key=key,
        statistic=None,
        title=title,
        unit=unit,
        kind="percent" if unit == "%" else "number",
        better=better,
        about=about,
        shown=False,
        as_difference=True,
    )


def _deploy_metrics() -> tuple[Metric, ...]:
    """Build the entries of an exported file: its ways, and what is known of it."""
    timed = [way.metric(load) for load in LOADS for way in WAYS]
    return (
        *(_metric(name, MILLISECONDS, DEPLOY, Column()) for name in timed),
        *(_metric(f"deploy_{name}_batch", COUNT, EXPORT, Column()) for name in LIBRARIES),
    )


# In the order of the page's columns. A column that stands by itself is worked out of measurements
# or of predictions.
TABLE: tuple[Metric | Column, ...] = (
    _of_images(
        "top1_without_doubles",
        "Top-1, no doubles",
        "Top-1 of the test images that show nothing that a training image shows too",
        "higher",
        "%",
    ),
    _of_images("nll", "Log loss", "The mean negative log-likelihood of the true class", "lower"),
    _of_images(
        "brier",
        "Brier score",
        "The mean squared distance of the probabilities from the truth, 0 to 2",
        "lower",
    ),
    _of_images(
        "ece",
        "Calibration error",
        (
            "The root mean square of the gap between confidence and accuracy over 15 bins of "
            "equally many images, less what chance alone would make it"
        ),
        "lower",
        "%",
    ),
    _of_images(
        "top1_at_80_coverage",
        "Top-1 of 80 %",
        "Top-1 of the four fifths of the test images that the model is surest of",
        "higher",
        "%",
    ),
    _of_images(
        "set_size_90",
        "Classes at 90 %",
        (
            "How many classes a set has on average that holds the true one in 90 % of all cases "
            "(conformal prediction, calibrated on validation)"
        ),
        "lower",
    ),
    _of_images(
        "set_coverage_90",
        "Held at 90 %",
        "How many of these sets hold the true class, of the test images",
        None,
        "%",
    ),
    _metric(
        "train_images_per_second",
        RATE,
        TRAIN,
        Column(
            title="Training",
            about="Training end to end: loader, forward, backward and update",
            terminal="train img/s",
            tradeoff=True,
            disturbed_in=TRAIN.name,
        ),
        speed=True,
    ),
    _metric(
        "train_step_images_per_second",
        RATE,
        TRAIN,
        Column(
            title="Step alone",
            about="The same step on a batch that is already there",
            shown=False,
            disturbed_in=TRAIN.name,
        ),
    ),
    # A step without the exchange of gradients, where ranks share the images.
    _metric("unsynced_step_images_per_second", RATE, TRAIN),
    _metric(
        "loader_images_per_second",
        RATE,
        TRAIN,
        Column(
            title="Loader alone",
            about="Batches made and dropped, without a model",
            shown=False,
        ),
    ),
    _metric(
        "fit_images_per_second",
        RATE,
        TRAINING,
        Column(
            title="Reached",
            about="What the training itself reached, evaluation left out",
            shown=False,
        ),
    ),
    _metric(
        "infer_images_per_second",
        RATE,
        INFER,
        Column(
            title="Inference",
            about="Forward passes alone, in batches",
            terminal="infer img/s",
            tradeoff=True,
            disturbed_in=INFER.name,
        ),
        speed=True,
    ),
    _metric(
        "latency_ms",
        MILLISECONDS,
        LATENCY,
        Column(
            key="latency_ms_p50",
            statistic="p50",
            title="Latency p50",
            about="One image at a time: the middle of all",
            terminal="ms/img",
            tradeoff=True,
            disturbed_in=LATENCY.name,
        ),
        Column(
            key="latency_ms_p95",
            statistic="p95",
            title="Latency p95",
            about="One image at a time: 95 of 100 are faster",
            shown=False,
        ),
        Column(
            key="latency_ms_p99",
            statistic="p99",
            title="Latency p99",
            about="One image at a time: 99 of 100 are faster",
            shown=False,
        ),
    ),
    # Of training, less what was there before the model.
    _metric(
        "peak_memory_bytes",
        BYTES,
        MEMORY,
        Column(
            title="Peak memory",
            about=(
                "GPU: peak allocated; CPU: peak resident memory of a fresh process less its value "
                "after imports"
            ),
            terminal="memory",
            tradeoff=True,
        ),
    ),
    _metric("sweep_images_per_second", RATE, SWEEP),
    Column(
        key="infer_best_images_per_second",
        statistic=None,
        title="Best inference",
        unit="images/s",
        kind="rate",
        better="higher",
        about="Forward passes in the batch that was fastest",
        shown=False,
        disturbed_in=SWEEP.name,
    ),
    Column(
        key="infer_best_batch",
        statistic=None,
        title="Its batch",
        about="The batch of the fastest forward passes",
        shown=False,
    ),
    # From nothing: building the model is part of it.
    _metric(
        "first_step_seconds",
        SECONDS,
        FIRST_STEP,
        Column(
            title="First step",
            about="From nothing to the end of the first training step",
            shown=False,
        ),
    ),
    # Of the first step, what the second one doesn't take: 0 where it took longer.
    _metric(
        "compile_seconds",
        replace(SECONDS, may_be_zero=True),
        FIRST_STEP,
        Column(),
    ),
    Column(
        key="communication_percent",
        statistic=None,
        title="Communication",
        unit="%",
        kind="percent",
        better="lower",
        about="Of a training step, for the exchange of gradients between processes",
        shown=False,
    ),
    Column(
        key="train_gflops_per_second",
        statistic=None,
        title="Got out",
        unit="GFLOP/s",
        kind="rate",
        better="higher",
        about="Floating point operations a second in training: six for each multiply-add",
        shown=False,
    ),
    _metric(
        "energy_joules_per_image",
        JOULES,
        ENERGY,
        Column(
            title="Energy",
            about="Of training an image, as the processor or the GPU counts it",
            shown=False,
        ),
    ),
    Column(
        key="deploy_ms",
        statistic=None,
        title="Exported",
        unit="ms",
        kind="ms",
        better="lower",
        about="One image by the exported file, in the way that is fastest here",
        shown=False,
        tradeoff=True,
        disturbed_in=DEPLOY.name,
    ),
    Column(
        key="deploy_images_per_second",
        statistic=None,
        title="Exported, batches",
        unit="images/s",
        kind="rate",
        better="higher",
        about="Batches by the exported file, in the way that is fastest here",
        shown=False,
        disturbed_in=DEPLOY.name,
    ),
    _metric(
        "deploy_top1",
        SHARE,
        EXPORT,
        Column(
            title="Exported top-1",
            about="Test images whose most probable class is right by the exported file itself",
            shown=False,
        ),
    ),
    _metric(
        "deploy_file_bytes",
        BYTES,
        EXPORT,
        Column(title="Exported size", about="The exported ONNX file", shown=False),
    ),
    *_deploy_metrics(),
    # Sent in a step to the ranks that share the model.
    _metric("exchanged_bytes", BYTES, TRAIN, Column()),
    _metric("parameter_bytes", BYTES, MEMORY, Column(bar="Weights")),
    _metric("gradient_bytes", BYTES, MEMORY, Column(bar="Gradients")),
    _metric("optimizer_bytes", BYTES, MEMORY, Column(bar="Optimiser")),
    # Kept by a forward pass for the backward one.
    _metric("activation_bytes", BYTES, MEMORY, Column(bar="Activations")),
    # Resident, with the interpreter and all libraries.
    _metric("process_peak_bytes", BYTES, MEMORY, Column()),
    _metric("device_allocated_bytes", BYTES, MEMORY, Column()),
    _metric("device_reserved_bytes", BYTES, MEMORY, Column()),
    _metric("matmul_flops_per_second", FLOPS, MACHINE),
    _metric("copy_bytes_per_second", TRAFFIC, MACHINE),
)
METRICS = {entry.name: entry for entry in TABLE if isinstance(entry, Metric)}


def list_metrics(measure: Measure) -> tuple[Metric, ...]:
    """Return the metrics that are measured together, in the table's order."""
    return tuple(metric for metric in METRICS.values() if metric.measure is measure)


# Every column, in the table's order.
FIGURES = tuple(
    chain.from_iterable(entry.columns if isinstance(entry, Metric) else (entry,) for entry in TABLE)
)
