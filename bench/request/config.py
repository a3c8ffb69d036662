"""Every option of a run: its name, default and help, once. No torch.

The command line is made from the fields by tyro. A recipe is a RunConfig too: it is the default
that the options given change.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from tyro.conf import arg

from bench.results.metric import MEASURE_HELP, MEASURES
from zoo.suggest import unknown

TRACKERS = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "aim": "aim",
    "comet_ml": "comet_ml",
    "clearml": "clearml",
    "dvclive": "dvclive",
    "swanlab": "swanlab",
}


# In the order in which they are done. A crop moves by the set's margin, a mirror image comes in one
# of two.
AUGMENTATIONS = (
    "crop",
    "mirror",
    "trivial",
    "rotation",
    "pca",
    "cutout",
    "erasing",
    "mixup",
    "cutmix",
)


NONE, HUB = "none", "hub"


SCHEDULES = ("cosine", "onecycle", "constant", "plateau")
OPTIMIZERS = ("sgd", "momentum", "adamw", "adam")
PRECISIONS = ("fp32", "bf16", "fp16")
PROTOCOLS = ("split", "published")
PARALLEL = {
    "data": 1,
    "tower": 2,
    "owt": 2,
    "devices": 1,
}  # ways: how many processes share one copy of a model

Number = Annotated[int | None, arg(metavar="N")]
Seconds = Annotated[float | None, arg(metavar="S")]
Text = Annotated[str, arg(metavar="NAME")]
Names = Annotated[tuple[str, ...], arg(metavar="NAME …")]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Train, measure and compare image classifiers on the same data, machine and rules."""

    models: Names = ()
    """What to compare: names and globs of `python -m zoo`, tv:NAME, timm:NAME, FILE.py:FUNCTION; @SWITCH=VALUE,… behind
    a name changes one, as in alexnet_grouped_cifar@activation=tanh."""
    recipe: Text = "quick"
    """Named settings that the other options change: quick, smoke, standard, survey, tutorial, cifar200, speedrun, …"""
    dataset: Text = "auto"
    """auto (CIFAR-100 if it can be had, else the embedded stand-in), cifar100, cifar10, imagefolder, synthetic, …"""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where the data lies (else $ZOOMETRY_DATA, else the user's cache): the folder itself or its parent."""
    protocol: Literal["split", "published"] = "split"
    """split: choose on validation, read the test set once. published: train on all, test at every epoch."""
    skip_unreadable: bool = False
    """Leave out the images of a folder that can't be read: named, counted, noted in every record."""
    image_size: Number = None
    """Every model at N px instead of its own size (a recipe's own size goes with its models)."""

    epochs: Number = None
    """Budget in epochs; 0 only measures. Takes the place of --seconds."""
    seconds: Seconds = None
    """Budget in seconds of training a model; the schedule follows it. Takes the place of --epochs."""
    seeds: Annotated[tuple[int, ...], arg(metavar="N …")] = (0,)
    """One training run a model and seed."""
    batch_size: Annotated[int, arg(metavar="N")] = 128
    """Images a step, of the whole world; best: each model's fastest power of two that fits."""
    best_batch: bool = False
    """What --batch-size best means; such rows are ranked apart."""
    accumulate: Annotated[int, arg(metavar="N")] = 1
    """Micro-batches a step: each rank's share is split in N, the gradients are averaged."""

    optimizer: Text | None = None
    """sgd (Nesterov), momentum (sgd without it), adamw, adam, or any name of timm.optim; by default the model's own,
    else sgd."""
    lr: Annotated[float | None, arg(metavar="RATE")] = None
    """Peak learning rate; by default the model's own for its own optimiser, else 0.05 for sgd and 0.001 for others."""
    momentum: Annotated[float, arg(metavar="M")] = 0.9
    """Of sgd, and of optimisers of timm that take one."""
    weight_decay: Annotated[float, arg(metavar="W")] = 5e-4
    """On weights; biases and norms are left alone."""
    schedule: Text = "onecycle"
    """onecycle (up linearly, then cosine to zero), cosine (after a warm-up), constant (after a warm-up), plateau (a
    tenth, three times, where --patience epochs bring nothing)."""
    patience: Annotated[int, arg(metavar="N")] = 5
    """Epochs without a lower validation error before --schedule plateau drops the rate."""
    warmup: Annotated[float, arg(metavar="SHARE")] = 0.2
    """The share of the budget in which the rate rises."""
    label_smoothing: Annotated[float, arg(metavar="P")] = 0.0
    """Probability spread over all classes in the training loss."""
    dropout: Annotated[float | None, arg(metavar="P")] = None
    """Dropout at this rate instead of the model's own; refused for a model that has none."""
    drop_path: Annotated[float | None, arg(metavar="P")] = None
    """Stochastic depth, up to this rate at the deepest block; refused for a model that has none."""
    clip: Annotated[float | None, arg(metavar="NORM")] = None
    """Clip the gradient's norm."""
    ema: Annotated[float | None, arg(metavar="DECAY")] = None
    """Evaluate and save an exponential moving average of the weights."""
    augment: Names = ("crop", "mirror")
    """Of crop, mirror, trivial, rotation, pca, cutout, erasing, mixup, cutmix; none for none. Digits: no mirror."""
    balance: bool = False
    """Draw each class equally often."""
    class_weights: bool = False
    """Weigh classes in the loss so that each counts the same in sum."""
    pretrained: Annotated[str, arg(metavar="[hub|FILE|DIR]")] = "none"
    """Start from published weights of tv: and timm: models (no value, or hub), from a file, or from a folder with
    MODEL.safetensors or MODEL.pth for each, or another run's folder."""
    crops: Annotated[int, arg(metavar="1|10")] = 1
    """Views of a test image whose probabilities are averaged: 1 (the centre) or 10 (corners and centre, mirrored)."""

    precision: Text = "fp32"
    """fp32, bf16 or fp16 (autocast)."""
    channels_last: bool = True
    """Memory format of images and weights."""
    compile: bool = False
    """Compile the models."""
    tf32: bool = False
    """Let a GPU round the factors of float32 products to 10 bits (TF32)."""
    cudnn_benchmark: bool = False
    """Let cuDNN try its convolutions and take the fastest."""
    exact: bool = False
    """Add the ranks' gradients in order: N processes then equal --accumulate N of one to the bit (2 always do)."""
    sync_batchnorm: bool = False
    """Batch normalisation over all processes' images instead of each one's own (GPUs only)."""
    num_threads: Number = None
    """Threads a process; by default the cores it may use, shared among the processes of this machine."""
    workers: Number = None
    """Decode an image folder as training goes, by N processes, instead of once into the cache (same numbers)."""
    pack: bool = False
    """Train cells side by side, each in a process of its own: one a core with one thread, or one a GPU."""
    pack_size: Number = None
    """With --pack: cells at once on a CPU, or on each GPU."""

    measure: Annotated[tuple[str, ...], arg(metavar="NAME …", help=MEASURE_HELP)] = MEASURES
    """What to measure after training; the table of metrics says what each choice is."""
    pairs: Annotated[int | Literal["auto"], arg(metavar="N|auto")] = "auto"
    """Rounds in which the models take turns; auto: until every ratio's interval is +-1 %, at most --measure-seconds."""
    measure_seconds: Annotated[float, arg(metavar="S")] = 20.0
    """The most that `--pairs auto` spends on one model."""
    launches: Annotated[int, arg(metavar="N")] = 1
    """Measure N times, each in fresh processes (by hand: start N times, with --resume)."""

    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run's folder; by default runs/DATE-RECIPE."""
    track: Names = ()
    """Tell trackers of each epoch: tensorboard, wandb, mlflow, … (those of accelerate that are installed)."""
    resume: bool = False
    """Go on with the run in --out; starts it if there is none."""
    checkpoint_seconds: Annotated[float, arg(metavar="S")] = 60.0
    """Time between checkpoints."""
    timeout: Annotated[float, arg(metavar="S")] = 60.0
    """How long a rank waits for another before it gives up."""
    restarts: Annotated[int, arg(metavar="N")] = 0
    """After a process has died, start a new world that goes on from the last checkpoint, at most N times."""
    world: Number = None
    """Refuse to run unless N processes are there (launch.sh always says it)."""
    parallel: Text = "data"
    """How a model is shared: data (each process holds it whole), tower (a tower each), owt (the fully connected
    layers halved), devices (a tower a device of one process)."""
    dry_run: bool = False
    """Show the cells with what they need; run nothing."""
    like: Annotated[Path | None, arg(metavar="RECORD")] = None
    """Take the options of a record.json."""

    @property
    def cells_share_machine(self) -> bool:
        """Return whether cells run beside each other, so that the speed of one says nothing."""
        return self.pack


DIGITS = ("mnist", "svhn")  # data sets whose images mean something else in the mirror

# Options that may differ when a run goes on: they say how and where, not what.
RESUMABLE = frozenset(
    {
        "resume",
        "out",
        "world",
        "accumulate",
        "workers",
        "pack_size",
        "data_dir",
        "checkpoint_seconds",
        "timeout",
        "restarts",
        "track",
        "dry_run",
        "like",
    }
)


def differing(a: RunConfig, b: RunConfig) -> list[str]:
    """Name the options by which two configurations are not the same run."""
    names = (f.name for f in dataclasses.fields(RunConfig) if f.name not in RESUMABLE)
    return [flag_of(name) for name in names if getattr(a, name) != getattr(b, name)]


def to_json(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, every option by name."""
    plain = dataclasses.asdict(config)
    return {
        k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
        for k, v in plain.items()
    }


def from_json(values: dict[str, Any]) -> RunConfig:
    """Read what `to_json` wrote; ValueError for an option that this version doesn't have."""
    hints = get_type_hints(RunConfig)
    for name in values:
        if name not in hints:
            raise ValueError(unknown("option", name, hints))
    plain: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list | tuple) else v for k, v in values.items()
    }
    places = {k: Path(plain[k]) for k in ("data_dir", "out", "like") if plain.get(k) is not None}
    return RunConfig(**plain | places)


def flag_of(name: str) -> str:
    """The flag of an option, as it is written on the command line."""
    return "--" + name.replace("_", "-")


# accelerate's names, each with the module of its package.


def check(config: RunConfig) -> None:
    """Check every value that can be checked without a model, a data set or a world.

    ValueError with one line.
    """
    if not config.models:
        raise ValueError("--models is empty: name at least one model of `python -m zoo`")
    if config.epochs is None and config.seconds is None:
        raise ValueError("no budget: give --epochs N or --seconds S")
    for name, allowed in _CHOICES.items():
        _check_choices(name, getattr(config, name), allowed)
    for name in _POSITIVE:
        _check_positive(name, getattr(config, name))
    for name, low, high in _RANGES:
        _check_range(name, getattr(config, name), low, high)
    _check_together(config)
    if not config.seeds:
        raise ValueError("--seeds is empty: give at least one number")
    for name in ("seeds", "augment", "measure", "track"):
        _check_distinct(name, getattr(config, name))
    if config.balance and config.class_weights:
        raise ValueError(
            "--balance and --class-weights are two remedies for one thing: give one of them"
        )
    if config.skip_unreadable and config.dataset != "imagefolder":
        raise ValueError(
            "--skip-unreadable is for image folders: give --dataset imagefolder, or leave it out"
        )


_CHOICES = {
    "augment": AUGMENTATIONS,
    "protocol": PROTOCOLS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "measure": MEASURES,
    "parallel": tuple(PARALLEL),
    "track": tuple(TRACKERS),
}
_POSITIVE = (
    "batch_size",
    "accumulate",
    "image_size",
    "num_threads",
    "workers",
    "pack_size",
    "world",
    "seconds",
    "lr",
    "clip",
    "pairs",
    "patience",
    "measure_seconds",
    "checkpoint_seconds",
    "timeout",
    "launches",
)
_RANGES = (
    ("epochs", 0, 1_000_000),
    ("momentum", 0, 1),
    ("weight_decay", 0, 10),
    ("warmup", 0, 1),
    ("label_smoothing", 0, 0.99),
    ("dropout", 0, 0.99),
    ("drop_path", 0, 0.99),
    ("ema", 0, 1),
    ("seeds", 0, 2**31 - 1),
    ("restarts", 0, 1000),
)


def _check_together(config: RunConfig) -> None:
    """Refuse options that don't go together."""
    if config.crops not in (1, 10):
        raise ValueError(f"--crops {config.crops}: choose 1 or 10")
    if config.schedule == "plateau" and config.protocol == "published":
        raise ValueError(
            "--schedule plateau looks at validation images; --protocol published has none"
        )
    if PARALLEL[config.parallel] > 1 and (config.precision == "fp16" or config.compile):
        option = "--compile" if config.compile else "--precision fp16"
        raise ValueError(
            f"--parallel {config.parallel} doesn't go with {option}: processes that share a model need "
            "fp32 or bf16, not compiled"
        )


def _check_choices(name: str, given: str | tuple[str, ...], allowed: Sequence[str]) -> None:
    for value in (given,) if isinstance(given, str) else given:
        if value not in allowed:
            raise ValueError(unknown(flag_of(name), value, allowed))


def _check_positive(name: str, value: float | str | None) -> None:
    if isinstance(value, int | float) and not 0 < value < float("inf"):
        raise ValueError(f"{flag_of(name)} {value}: must be greater than 0")


def _check_range(
    name: str, given: float | tuple[float, ...] | None, low: float, high: float
) -> None:
    for value in given if isinstance(given, tuple) else (given,):
        if value is not None and not low <= value <= high:
            raise ValueError(f"{flag_of(name)} {value}: must lie between {low} and {high}")


def _check_distinct(name: str, values: tuple[object, ...]) -> None:
    twice = sorted({str(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"{flag_of(name)}: {', '.join(twice)} is given twice")
