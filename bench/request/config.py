"""Every option of a run, once: its name, default, help and allowed values. No torch.

`command_line` makes the flags and `--help` from these fields. A recipe is a `RunConfig` too: the
defaults that the options given on the command line change.
"""

import dataclasses
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from bench.request.option import Option, check_distinct, check_value, flag_of, option
from bench.results.metric import MEASURE_HELP, MEASURES, USUAL_MEASURES
from bench.results.record import CellKey
from zoo.suggest import unknown

# The names by which accelerate knows trackers, each with the module that its package installs.
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

# In the order in which they are applied, whatever order they are given in.
AUGMENTATIONS = (
    "crop",
    "resized",
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
TRAIN_MODES = ("all", "head", "head+all")
SCHEDULES = ("cosine", "onecycle", "constant", "steps", "plateau")
OPTIMIZERS = ("sgd", "momentum", "adamw", "adam")
PRECISIONS = ("fp32", "bf16", "fp16")
PROTOCOLS = ("split", "published")
FAST, TORCH = "fast", "torch"
# How many processes share one copy of a model, for each way of sharing it.
PARALLEL = {"data": 1, "tower": 2, "owt": 2, "devices": 1}
DIGITS = ("mnist", "svhn")  # data sets whose images mean something else when mirrored


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """models and data"""

    models: tuple[str, ...] = option(
        (),
        "Models to compare: names and globs of `python -m zoo`, tv:NAME, timm:NAME or "
        "FILE.py:FUNCTION. A name may be followed by @SWITCH=VALUE,…, as in "
        "alexnet_grouped_cifar@activation=tanh. Without any the recipe's; of backbones those whose "
        "weights are in the folder of --pretrained.",
        metavar="NAME",
    )
    recipe: str = option(
        "quick",
        "Named settings that the other options change: quick, smoke, standard, tutorial, cifar200, "
        "trained, speedrun, cpu30, finetune, backbones, fashion_mnist, imagenet, paper or "
        "paper_cifar.",
        metavar="NAME",
    )
    dataset: str = option(
        "auto",
        "auto (CIFAR-100 if it is available, else the embedded stand-in), cifar100, cifar10, "
        "imagefolder, synthetic, …",
        metavar="NAME",
    )
    data_dir: Path | None = option(
        None,
        "Where the data is: the folder itself or its parent. Without it $ZOOMETRY_DATA, then the "
        "user's cache.",
        metavar="DIR",
        resumable=True,
    )
    protocol: Literal["split", "published"] = option(
        "split",
        "split chooses on validation images and reads the test set once; published trains on all "
        "training images and tests at every epoch.",
        metavar="NAME",
        choices=PROTOCOLS,
    )
    skip_unreadable: bool = option(
        False,
        "Leave out the images of a folder that can't be read. They are named, counted and noted in "
        "every record.",
    )
    classes: tuple[str, ...] = option(
        (),
        "Take the images of these classes alone, by the data set's names of them.",
        metavar="NAME",
        distinct=True,
    )
    images_per_class: tuple[int, ...] = option(
        (),
        "Train on at most N training images of each class; of several N, once on each, for a "
        "learning curve. Each seed draws its own, and a smaller part is one of every larger part.",
        metavar="N",
        positive=True,
        distinct=True,
    )
    imbalance: float | None = option(
        None,
        "Train on a long tail: the first class keeps all its images, the last one in R of them, "
        "and the shares between fall evenly by the logarithm.",
        metavar="R",
        between=(1, 1_000_000),
    )
    drop_duplicates: bool = option(
        False,
        "Leave out training and validation images that show the same as a test image, found as "
        "`python -m bench.data` does. They are counted in every record.",
    )
    folds: int | None = option(
        None,
        "Test every training image once: cut K stratified folds of them, and train each model K "
        "times on all but one. A test set that is there isn't read.",
        metavar="K",
        between=(2, 1000),
    )
    image_size: int | None = option(
        None,
        "Run every model at N px. Without it each model has its own size, or the recipe's if its "
        "models are the recipe's.",
        metavar="N",
        positive=True,
    )


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """learning"""

    epochs: int | None = option(
        None,
        "Budget in epochs, instead of --seconds. 0 measures without training.",
        metavar="N",
        between=(0, 1_000_000),
    )
    seconds: float | None = option(
        None,
        "Budget in seconds of training for each model, instead of --epochs. The learning rate "
        "follows it.",
        metavar="S",
        positive=True,
    )
    least_steps: int | None = option(
        None,
        "With --seconds on a machine so slow that a model would take fewer than N steps, give all "
        "models more seconds, and leave out the slowest until training and evaluation take at most "
        "4/3 of what was asked for. A recipe's N goes with the recipe's models and budget.",
        metavar="N",
        positive=True,
    )
    left_out: tuple[str, ...] = option(
        (), "The models that were left out for --least-steps.", metavar="NAME", hidden=True
    )
    seeds: tuple[int, ...] = option(
        (0,),
        "Train every model once with each seed.",
        metavar="N",
        between=(0, 2**31 - 1),
        distinct=True,
    )
    batch_size: int = option(
        128,
        "Images in a step, over all processes. With 'best', each model gets its fastest power of "
        "two that fits, and is ranked apart.",
        metavar="N|best",
        words=("best",),
        positive=True,
    )
    best_batch: bool = option(False, "What `--batch-size best` sets.", hidden=True)
    accumulate: int = option(
        1,
        "Split each process's share of a batch into N micro-batches, and average their gradients.",
        metavar="N",
        positive=True,
        resumable=True,
    )
    optimizer: str | None = option(
        None,
        "sgd (with Nesterov momentum), momentum (SGD without it), adamw, adam, or any name of "
        "timm.optim. Without it the model's own, else sgd.",
        metavar="NAME",
    )
    lr: float | None = option(
        None,
        "Peak learning rate. Without it the model's own if its optimiser is too, else 0.05 for sgd "
        "and 0.001 for the others; a tenth of it for pretrained weights.",
        metavar="RATE",
        positive=True,
    )
    momentum: float = option(
        0.9,
        "Momentum of sgd, and of timm's optimisers that take one.",
        metavar="M",
        between=(0, 1),
    )
    weight_decay: float = option(
        5e-4,
        "Weight decay. It is not applied to biases, normalisation layers, tokens and embeddings.",
        metavar="W",
        between=(0, 10),
    )
    schedule: str = option(
        "onecycle",
        "onecycle (linear rise, then a cosine to zero), cosine, constant or steps (a tenth after "
        "each third of the budget; each after a warm-up), or plateau (a tenth, three times, when "
        "--patience epochs bring nothing).",
        metavar="NAME",
        choices=SCHEDULES,
    )
    patience: int = option(
        5,
        "Epochs without a lower validation error before --schedule plateau lowers the learning "
        "rate.",
        metavar="N",
        positive=True,
    )
    warmup: float = option(
        0.2,
        "Share of the budget during which the learning rate rises.",
        metavar="SHARE",
        between=(0, 1),
    )
    label_smoothing: float = option(
        0.0,
        "Probability spread over all classes in the training loss.",
        metavar="P",
        between=(0, 0.99),
    )
    dropout: float | None = option(
        None,
        "Dropout rate instead of the model's own. Refused for a model without dropout.",
        metavar="P",
        between=(0, 0.99),
    )
    drop_path: float | None = option(
        None,
        "Stochastic depth, rising to this rate at the deepest block. Refused for a model without "
        "it.",
        metavar="P",
        between=(0, 0.99),
    )
    clip: float | None = option(
        None, "Clip the norm of the gradient.", metavar="NORM", positive=True
    )
    ema: float | None = option(
        None,
        "Evaluate and save an exponential moving average of the weights with this decay.",
        metavar="DECAY",
        between=(0, 1),
    )
    augment: tuple[str, ...] = option(
        ("crop", "mirror"),
        "Any of crop or resized (a box of 8 to 100 % of the image, resized), mirror, trivial, "
        "rotation, pca, cutout, erasing, mixup and cutmix, or none. Recipes don't mirror digits.",
        metavar="NAME",
        choices=AUGMENTATIONS,
        distinct=True,
    )
    balance: bool = option(False, "Draw images of each class equally often.")
    class_weights: bool = option(
        False, "Weight the classes in the loss so that each has the same total weight."
    )
    pretrained: str = option(
        NONE,
        "Start from pretrained weights: without a value those published for tv: and timm: models; "
        "else a file, a folder with a file for each model (tf_efficientnet_lite0.safetensors for "
        "timm:tf_efficientnet_lite0; .pth, .pt, .bin), or another run's folder.",
        metavar="hub|FILE|DIR",
    )
    train: str = option(
        "all",
        "What of a model learns: all layers by steps; head, a linear classifier on the features of "
        "pretrained layers that stay as they are (fitted once, its strength chosen on validation); "
        "or head+all, the first and then the second from it.",
        metavar="NAME",
        choices=TRAIN_MODES,
    )
    assess_train: bool = option(
        False,
        "Evaluate the training images too at each epoch's end, as they are stored.",
    )
    crops: int = option(
        1,
        "Views of each test image whose probabilities are averaged: 1 (the centre) or 10 (corners "
        "and centre, each also mirrored).",
        metavar="1|10",
        choices=("1", "10"),
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """machine"""

    precision: str = option(
        "fp32", "fp32, or bf16 or fp16 by autocast.", metavar="NAME", choices=PRECISIONS
    )
    allow_emulated: bool = option(
        False,
        "Let --precision bf16 run where the processor or GPU has no bf16 and is far slower for it.",
        resumable=True,
    )
    channels_last: bool | None = option(
        None,
        "Keep images and weights in channels-last memory format, or with --no-channels-last in "
        "NCHW. Without either a CPU takes the faster one for each model, by a few steps of both in "
        "turn before it is trained; a GPU, --compile and --train head take channels-last.",
    )
    compile: bool = option(False, "Compile the models with torch.compile.")
    kernels: str | None = option(
        None,
        "Whose convolutions on a CPU: fast (zoo.fast: the same sums, sooner) or torch (the "
        "library's own), in training and where inference is measured. Without it training is fast, "
        "and inference is measured as the library gives the model, which evaluation always takes.",
        metavar="NAME",
        choices=(FAST, TORCH),
    )
    tf32: bool = option(False, "Let a GPU round the factors of float32 products to 10 bits (TF32).")
    cudnn_benchmark: bool = option(False, "Let cuDNN time its convolutions and take the fastest.")
    exact: bool = option(
        False,
        "Add the processes' gradients in a fixed order, so that N processes equal --accumulate N "
        "of one process to the bit. Two processes always do.",
    )
    sync_batchnorm: bool = option(
        False, "Normalise batches over the images of all processes. GPUs only."
    )
    num_threads: int | None = option(
        None,
        "Threads of a process. Without it the available cores, shared among the processes of this "
        "machine.",
        metavar="N",
        positive=True,
    )
    workers: int | None = option(
        None,
        "Decode an image folder in N processes during training, instead of once into the cache. "
        "Results are the same.",
        metavar="N",
        positive=True,
        resumable=True,
    )
    pack: bool = option(
        False,
        "Train cells side by side, each in a process of its own: one to a core with one thread, or "
        "one to a GPU.",
    )
    pack_size: int | None = option(
        None,
        "With --pack, the number of cells at once on a CPU or on each GPU.",
        metavar="N",
        positive=True,
        resumable=True,
    )


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """measuring"""

    measure: tuple[str, ...] = option(
        USUAL_MEASURES,
        MEASURE_HELP,
        metavar="NAME",
        choices=MEASURES,
        distinct=True,
    )
    pairs: int | Literal["auto"] = option(
        "auto",
        "Interleaved rounds. With 'auto', until the interval of every ratio is within 1 % or "
        "--measure-seconds are spent.",
        metavar="N|auto",
        words=("auto",),
        positive=True,
    )
    measure_seconds: float = option(
        20.0, "Most seconds that `--pairs auto` spends on one model.", metavar="S", positive=True
    )
    launches: int = option(
        1,
        "Measure N times, each in fresh processes. Without launch.sh, start the run N times with "
        "--resume.",
        metavar="N",
        positive=True,
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """the run"""

    out: Path | None = option(
        None,
        "Folder of the run. Without it runs/DATE-RECIPE.",
        metavar="DIR",
        resumable=True,
    )
    track: tuple[str, ...] = option(
        (),
        "Report each epoch to trackers that are installed: tensorboard, wandb, mlflow, …",
        metavar="NAME",
        choices=tuple(TRACKERS),
        distinct=True,
        resumable=True,
    )
    resume: bool = option(
        False, "Continue the run in --out, or start it if there is none.", resumable=True
    )
    checkpoint_seconds: float = option(
        60.0, "Seconds between checkpoints.", metavar="S", positive=True, resumable=True
    )
    timeout: float = option(
        60.0,
        "Seconds that a process waits for another before it gives up.",
        metavar="S",
        positive=True,
        resumable=True,
    )
    restarts: int = option(
        0,
        "After a process has died, start new processes from the last checkpoint, at most N times.",
        metavar="N",
        between=(0, 1000),
        resumable=True,
    )
    world: int | None = option(
        None,
        "Refuse to run unless there are N processes. launch.sh always sets it.",
        metavar="N",
        positive=True,
        resumable=True,
    )
    parallel: str = option(
        "data",
        "How processes share a model: data (each holds all of it), tower (one tower each), owt "
        "(half of the fully connected layers each), or devices (one process, a tower on each "
        "device).",
        metavar="NAME",
        choices=tuple(PARALLEL),
    )
    dry_run: bool = option(
        False, "Show the cells with their estimated needs, and run nothing.", resumable=True
    )
    like: Path | None = option(
        None, "Take the options of this record.json.", metavar="RECORD", resumable=True
    )


# The groups of --help, in the order of the fields of RunConfig.
GROUPS = (DataOptions, LearningOptions, MachineOptions, MeasuringOptions, RunOptions)


# A dataclass takes the fields of its last base first; records keep the options in this order.
@dataclass(frozen=True, kw_only=True)
class RunConfig(RunOptions, MeasuringOptions, MachineOptions, LearningOptions, DataOptions):
    """Train, measure and compare image classifiers on the same data, machine and rules."""

    @property
    def cell_keys(self) -> tuple[CellKey, ...]:
        """List the cells that are asked for, model by model."""
        folds = range(1, self.folds + 1) if self.folds else (None,)
        sizes = self.images_per_class or (None,)
        return tuple(starmap(CellKey, product(self.models, self.seeds, folds, sizes)))

    @property
    def fits_head(self) -> bool:
        """Return whether a linear classifier is fitted to frozen features, at first or alone."""
        return self.train != "all"

    @property
    def takes_steps(self) -> bool:
        """Return whether a model learns by steps, which epochs and seconds are budgets of."""
        return self.train != "head"

    @property
    def uses_channels_last(self) -> bool:
        """Return whether images and weights are in channels-last: it is usual, unless refused."""
        return self.channels_last is not False

    @property
    def cells_share_machine(self) -> bool:
        """Return whether cells run beside each other, so that the speed of one says nothing."""
        return self.pack


# Each option by its field's name, in the order of the fields.
OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"] for field in dataclasses.fields(RunConfig)
}


def differing(a: RunConfig, b: RunConfig) -> list[str]:
    """Name the flags by which two configurations are not the same run."""
    fixed = [name for name, about in OPTIONS.items() if not about.resumable]
    return [flag_of(name) for name in fixed if getattr(a, name) != getattr(b, name)]


def to_json(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain JSON values, every option by name."""
    return {name: _to_plain(value) for name, value in dataclasses.asdict(config).items()}


def _to_plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def from_json(values: dict[str, Any]) -> RunConfig:
    """Read what `to_json` wrote.

    ValueError for an option that this version doesn't have, or a value of another type.
    """
    hints = get_type_hints(RunConfig)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(unknown("option", name, hints))
        if isinstance(value, list):
            value = tuple(value)
        # Records are older than the option's being a list.
        if name == "images_per_class" and value is None:
            value = ()
        if isinstance(value, str) and hints[name] == Path | None:
            value = Path(value)
        try:
            # Strict, since "3" and true are no numbers to whoever reads the record.
            read[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(f"{name} is {value!r:.60}: {error.errors()[0]['msg']}") from error
    return RunConfig(**read)


def check(config: RunConfig) -> None:
    """Check every value that can be checked without a model, a data set or a world.

    ValueError says in one line what was given and what is allowed.
    """
    if not config.models:
        raise ValueError("--models is empty: name at least one model of `python -m zoo`")
    if not config.seeds:
        raise ValueError("--seeds is empty: give at least one number")
    if config.epochs is None and config.seconds is None:
        raise ValueError("no budget: give --epochs N or --seconds S")
    if config.epochs is not None and config.seconds is not None:
        raise ValueError("--epochs and --seconds are two budgets: give one of them")
    for name, about in OPTIONS.items():
        given = getattr(config, name)
        values = given if isinstance(given, tuple) else (given,)
        for value in values:
            check_value(flag_of(name), value, about)
        if about.distinct:
            check_distinct(flag_of(name), values)
    _check_together(config)


def _check_together(config: RunConfig) -> None:
    """Refuse options that contradict each other."""
    if config.least_steps is not None and config.seconds is None:
        raise ValueError("--least-steps is for a budget of --seconds: give one, or leave it out")
    if config.schedule == "plateau" and config.protocol == "published":
        raise ValueError(
            "--schedule plateau needs validation images, and --protocol published has none: "
            "choose another schedule, or --protocol split"
        )
    if {"crop", "resized"} <= set(config.augment):
        raise ValueError(
            "--augment crop resized: two ways to take a window of an image; give one of them"
        )
    if config.folds and config.drop_duplicates:
        raise ValueError(
            "--drop-duplicates --folds: doubles of a test set are left out, and folds have none; "
            "leave one of them out"
        )
    if config.protocol == "published" and config.folds:
        raise ValueError(
            "--folds cuts validation images off, and --protocol published has none: take "
            "--protocol split"
        )
    unable = ""
    if config.precision == "fp16":
        unable = "--precision fp16"
    if config.compile:
        unable = "--compile"
    if unable and PARALLEL[config.parallel] > 1:
        raise ValueError(
            f"--parallel {config.parallel} doesn't go with {unable}: processes that share a model "
            "need fp32 or bf16, not compiled"
        )
    if config.balance and config.class_weights:
        raise ValueError(
            "--balance and --class-weights are two remedies for one thing: give one of them"
        )
    if config.skip_unreadable and config.dataset != "imagefolder":
        raise ValueError(
            "--skip-unreadable is for image folders: give --dataset imagefolder, or leave it out"
        )
