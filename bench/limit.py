"""What each option may be, and which don't go together. No torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.data.sampling import AUGMENTATIONS
from bench.track import TRACKERS
from bench.word import flag_of, unknown

if TYPE_CHECKING:
    from bench.request.config import RunConfig

MEASURES = ("train", "infer", "latency", "sweep", "memory", "machine", "energy")
SCHEDULES = ("cosine", "onecycle", "constant", "plateau")
OPTIMIZERS = ("sgd", "momentum", "adamw", "adam")
PRECISIONS = ("fp32", "bf16", "fp16")
PROTOCOLS = ("split", "published")
PARALLEL = {"data": 1, "tower": 2, "owt": 2, "devices": 1}  # ways: how many processes share one copy of a model


def check(config: "RunConfig") -> None:
    """Check every value that can be checked without a model, a data set or a world; ValueError with one line."""
    if not config.models:
        raise ValueError("--models is empty: name at least one model of `python -m zoo`")
    if config.epochs is None and config.seconds is None:
        raise ValueError("no budget: give --epochs N or --seconds S")
    from bench.request.recipe import RECIPES

    _check_choices("recipe", config.recipe, tuple(RECIPES))
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
        raise ValueError("--balance and --class-weights are two remedies for one thing: give one of them")
    if config.skip_unreadable and config.dataset != "imagefolder":
        raise ValueError("--skip-unreadable is for image folders: give --dataset imagefolder, or leave it out")


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
    "batch_size", "accumulate", "image_size", "num_threads", "workers", "pack_size", "world", "seconds", "lr", "clip",
    "pairs", "patience", "measure_seconds", "checkpoint_seconds", "timeout", "launches",
)  # fmt: skip
_RANGES = (
    ("epochs", 0, 1_000_000), ("momentum", 0, 1), ("weight_decay", 0, 10), ("warmup", 0, 1),
    ("label_smoothing", 0, 0.99), ("dropout", 0, 0.99), ("drop_path", 0, 0.99), ("ema", 0, 1), ("seeds", 0, 2**31 - 1),
    ("restarts", 0, 1000),
)  # fmt: skip


def _check_together(config: "RunConfig") -> None:
    """Refuse options that don't go together."""
    if config.crops not in (1, 10):
        raise ValueError(f"--crops {config.crops}: choose 1 or 10")
    if config.schedule == "plateau" and config.protocol == "published":
        raise ValueError("--schedule plateau looks at validation images; --protocol published has none")
    if PARALLEL[config.parallel] > 1 and (config.precision == "fp16" or config.compile):
        option = "--compile" if config.compile else "--precision fp16"
        raise ValueError(f"--parallel {config.parallel} doesn't go with {option}: processes that share a model need "
                         "fp32 or bf16, not compiled")  # fmt: skip


def _check_choices(name: str, given: str | tuple[str, ...], allowed: Sequence[str]) -> None:
    for value in (given,) if isinstance(given, str) else given:
        if value not in allowed:
            raise ValueError(unknown(flag_of(name), value, allowed))


def _check_positive(name: str, value: float | str | None) -> None:
    if isinstance(value, int | float) and not 0 < value < float("inf"):
        raise ValueError(f"{flag_of(name)} {value}: must be greater than 0")


def _check_range(name: str, given: float | tuple[float, ...] | None, low: float, high: float) -> None:
    for value in given if isinstance(given, tuple) else (given,):
        if value is not None and not low <= value <= high:
            raise ValueError(f"{flag_of(name)} {value}: must lie between {low} and {high}")


def _check_distinct(name: str, values: tuple[object, ...]) -> None:
    twice = sorted({str(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"{flag_of(name)}: {', '.join(twice)} is given twice")
