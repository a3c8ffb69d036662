"""Every option of a run: its name, default and help, once. No torch.

The command line is made from the fields by tyro. A recipe (bench/request/recipe.py) is a RunConfig too: it is the default that
the options given change.
"""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro
from tyro.conf import OmitArgPrefixes, arg

from bench.limit import MEASURES, check
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.word import best_as_flag, flag_of, one_line, option, unknown, with_value

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

    measure: Names = MEASURES
    """What to measure after training: train, infer, latency, sweep (inference at growing batches), memory, machine
    (the peak of its products and copies), energy; none for none."""
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


DIGITS = ("mnist", "svhn")  # data sets whose images mean something else in the mirror

# Options that may differ when a run goes on: they say how and where, not what.
RESUMABLE = frozenset({
    "resume", "out", "world", "accumulate", "workers", "pack_size", "data_dir", "checkpoint_seconds", "timeout",
    "restarts", "track", "dry_run", "like",
})  # fmt: skip


def parse(argv: Sequence[str]) -> RunConfig:
    """Read a command line on top of its recipe's settings; ValueError with one line where it is wrong."""
    # Imported here: a recipe is made of this file's RunConfig.
    from bench.request.recipe import get_recipe

    argv = with_value(argv, "--pretrained", "hub")
    given = {name for name in ("models", "image_size", "epochs", "seconds") if option(argv, flag_of(name)) is not None}
    if {"epochs", "seconds"} <= given:
        raise ValueError("--epochs and --seconds are two budgets: give one of them")
    argv = best_as_flag(argv)
    recipe = get_recipe(option(argv, "--recipe") or RunConfig.recipe)
    default = _like(argv) or _without(_for_digits(recipe, option(argv, "--dataset") or recipe.dataset), given)
    config = _without_none(_parse_flags(argv, default))
    check(config)
    return config


def _for_digits(recipe: RunConfig, dataset: str) -> RunConfig:
    """A recipe for a data set: digits aren't mirrored, since a mirrored 2 is none."""
    kept = tuple(name for name in recipe.augment if name != "mirror" or dataset not in DIGITS)
    return dataclasses.replace(recipe, augment=kept)


def differing(a: RunConfig, b: RunConfig) -> list[str]:
    """Name the options by which two configurations are not the same run."""
    names = (f.name for f in dataclasses.fields(RunConfig) if f.name not in RESUMABLE)
    return [flag_of(name) for name in names if getattr(a, name) != getattr(b, name)]


def to_flags(config: RunConfig) -> list[str]:
    """Write the command line that gives this configuration: its recipe and what differs from it."""
    from bench.request.recipe import get_recipe

    recipe = _for_digits(dataclasses.replace(get_recipe(config.recipe), recipe=""), config.dataset)
    base = _without(recipe, [name for name in ("models", "epochs", "seconds")
                             if getattr(config, name) not in (None, getattr(recipe, name))])  # fmt: skip
    flags: list[str] = []
    for item in dataclasses.fields(RunConfig):
        value = getattr(config, item.name)
        if value == getattr(base, item.name) or value is None or item.name == "like":
            continue
        if isinstance(value, bool):
            flags.append(flag_of(item.name) if value else flag_of(item.name).replace("--", "--no-", 1))
        else:
            words = [str(word) for word in value] if isinstance(value, tuple) else [str(value)]
            flags += [flag_of(item.name), *(words or ["none"])]
    return flags


def to_json(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, every option by name."""
    plain = dataclasses.asdict(config)
    return {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v for k, v in plain.items()}


def from_json(values: dict[str, Any]) -> RunConfig:
    """Read what `to_json` wrote; ValueError for an option that this version doesn't have."""
    hints = get_type_hints(RunConfig)
    for name in values:
        if name not in hints:
            raise ValueError(unknown("option", name, hints))
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in values.items()}
    places = {k: Path(plain[k]) for k in ("data_dir", "out", "like") if plain.get(k) is not None}
    return RunConfig(**plain | places)


def _without(recipe: RunConfig, given: Collection[str]) -> RunConfig:
    """A recipe less the settings that don't outlive what is given: the other budget, and the size of its own models."""
    dropped = {"image_size"} if "models" in given else set()
    dropped |= {"seconds"} if "epochs" in given else {"epochs"} if "seconds" in given else set()
    nothing: dict[str, Any] = dict.fromkeys(dropped)
    return dataclasses.replace(recipe, **nothing)


def _like(argv: Sequence[str]) -> RunConfig | None:
    """The configuration of the record that --like names."""
    path = option(argv, "--like")
    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"--like {path}: there is no such file")
    config = from_json(dict(read(Path(path), RunRecord).config))
    return dataclasses.replace(config, out=None, resume=False, world=None, dry_run=False)


def _parse_flags(argv: Sequence[str], default: RunConfig) -> RunConfig:
    """Let tyro read the flags; its boxed message becomes one line."""
    message = io.StringIO()
    try:
        # Only failures are caught: --help writes to standard output and exits with 0.
        with contextlib.redirect_stderr(message):
            return tyro.cli(RunConfig, args=list(argv), default=default, prog="run.py", config=(OmitArgPrefixes,))
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise ValueError(one_line(message.getvalue())) from stop


def _without_none(config: RunConfig) -> RunConfig:
    """`--measure none` and `--augment none` mean an empty list."""
    empty: dict[str, Any] = {name: () for name in ("measure", "augment", "track") if getattr(config, name) == ("none",)}
    return dataclasses.replace(config, **empty)


def complain(error: Exception | str, *, aloud: bool = True) -> int:
    """Say in one line on standard error that the request was wrong; returns the exit code for it, 2."""
    if aloud:
        sys.stderr.write(f"zoometry: {error}\n")
    return 2
