"""What a run writes and everything else reads: versioned records, checked when read. No torch.

A record is one JSON file, written aside and renamed, never edited in place. Raw values are stored;
statistics are properties. A number that isn't finite can't be written: what was not measured is
absent.
"""

import hashlib
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, JsonValue
from pydantic.dataclasses import dataclass

from bench.results.metric import METRICS, Better, Merge
from zoo.spec import LayerCost

SCHEMA = 2
MOST_CHARACTERS = 100  # of a model's name in its folder's: a file's name has 255 bytes
DIGITS = 8  # of the checksum behind it

# No quantity of ours comes near these; what does would overflow in sums and squares of a report.
Count = Annotated[int, Field(ge=0, le=2**53)]
Positive = Annotated[int, Field(ge=1, le=2**53)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]
Seconds = Annotated[float, Field(ge=0, le=1e100)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1)]

Status = Literal["started", "ok", "oom", "diverged", "failed", "interrupted"]
CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


def _is_unset(value: object) -> bool:
    return value is None or value == ()


def _is_zero(value: object) -> bool:
    return value == 0.0


# Of a field that is younger than its schema: left out where it says nothing, so that a file that
# was written without it is written again to the byte.
NEWER = Field(exclude_if=_is_unset)
# The same of a number that is 0 unless it says something. Where None is what says nothing, 0 is a
# measurement.
NEWER_NUMBER = Field(exclude_if=_is_zero)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Measurement:
    """Raw values of one quantity, per rank, with its warm-up kept apart.

    `values[rank][i]` are in `unit`, except for rates: there they are the seconds that `images`
    images of the whole world took, and `value` is a rate, images / seconds of the slowest rank.
    `part` names the pass of a Comparison in which it was taken, empty for what is measured once.
    `set_aside[rank]` are those of rounds that other processes disturbed and that were made again.
    `disturbed` is how many cores others took while `values` were measured, 0 where it was too
    little to count.
    """

    metric: str
    unit: str
    better: Better
    merge: Merge
    values: Annotated[tuple[Numbers, ...], Field(min_length=1)]
    warmup: tuple[tuple[Number, ...], ...] = ()
    images: Positive | None = None
    part: str = ""
    note: str = ""
    set_aside: Annotated[tuple[tuple[Number, ...], ...], NEWER] = ()
    disturbed: Annotated[Seconds, NEWER_NUMBER] = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError where ranks differ in their visits, or a rate's time isn't positive."""
        if len({len(rank) for rank in self.values}) > 1:
            raise ValueError(f"{self.metric}: ranks differ in their number of visits")
        if self.images is not None and min(map(min, self.values)) <= 0:
            raise ValueError(f"{self.metric}: images took no time")

    @property
    def merged(self) -> tuple[float, ...]:
        """Return the world's value at each visit.

        The slowest or largest rank, or the sum over the ranks.
        """
        if len(self.values) == 1:
            return self.values[0]
        join = sum if self.merge == "sum" else max
        return tuple(join(ranks) for ranks in zip(*self.values, strict=True))

    @property
    def value(self) -> float:
        """Return the median visit, in `unit`."""
        middle = statistics.median(self.merged)
        return middle if self.images is None else self.images / middle

    def percentile(self, percent: float) -> float:
        """Return the smallest merged raw value that at least `percent` % of all do not exceed."""
        # The nearest rank: a value that was measured, not one between two of them.
        return float(np.percentile(self.merged, percent, method="inverted_cdf"))


def make_measurement(
    metric: str,
    values: Iterable[Sequence[float]],
    *,
    warmup: Iterable[Sequence[float]] = (),
    images: int | None = None,
    part: str = "",
    set_aside: Iterable[Sequence[float]] = (),
    disturbed: float = 0.0,
) -> Measurement:
    """Make a measurement of `values[rank][i]` with what the table says of its metric.

    KeyError for a metric that the table lacks.
    """
    quantity = METRICS[metric].quantity
    return Measurement(
        metric=metric,
        unit=quantity.unit,
        better=quantity.better,
        merge=quantity.merge,
        values=tuple(tuple(own) for own in values),
        warmup=tuple(tuple(own) for own in warmup),
        images=images,
        part=part,
        set_aside=tuple(tuple(own) for own in set_aside),
        disturbed=disturbed,
    )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Accuracy:
    """Counts of one evaluation: integers, summed over the ranks.

    `loss` is the mean cross entropy without smoothing.
    """

    split: Literal["train", "validation", "test"]
    num_images: Positive
    num_top1: Count
    num_top5: Count
    num_superclass: Count | None
    loss: Number

    def __post_init__(self) -> None:
        """Raise ValueError where more images are right than there are."""
        if not self.num_top1 <= self.num_top5 <= self.num_images:
            raise ValueError("num_top1 <= num_top5 <= num_images doesn't hold")
        if self.num_superclass is not None and self.num_superclass > self.num_images:
            raise ValueError("num_superclass exceeds num_images")

    @property
    def top1(self) -> float:
        """Percent of images whose most probable class is right."""
        return 100 * self.num_top1 / self.num_images

    @property
    def top5(self) -> float:
        """Percent of images whose class is among the five most probable."""
        return 100 * self.num_top5 / self.num_images

    @property
    def superclass_top1(self) -> float | None:
        """Percent of images whose superclass has the largest summed probability.

        None without superclasses.
        """
        return None if self.num_superclass is None else 100 * self.num_superclass / self.num_images


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Epoch:
    """One epoch of training as it stood at its end (the last one of a time budget may be partial).

    `seconds` is training wall time since the start of training, without evaluation; `images` and
    `step` count from the start of training too; `train_loss` is the mean over the epoch's images.
    `taken_cores` is how many cores that the run could use others took meanwhile, None where nobody
    looked.
    """

    epoch: Count
    step: Count
    images: Count
    seconds: Seconds
    train_loss: Number
    learning_rate: Number
    evaluation: Accuracy | None = None
    taken_cores: Annotated[Seconds | None, NEWER] = None
    train_evaluation: Annotated[Accuracy | None, NEWER] = None


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Stage:
    """What a model learnt otherwise than by steps, before its epochs if it has any.

    `images` are the training images that it learnt from, 0 where it only prepared the next stage.
    `seconds` is what it took on this machine, in an earlier run where its outcome was kept.
    """

    name: Literal["codebook", "features", "fit"]
    images: int
    seconds: float
    found: dict[str, JsonValue] = field(default_factory=dict)
    evaluation: Accuracy | None = None


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class FormatTrial:
    """Training steps of a model in both memory formats, in turn, and which format was taken.

    `seconds[format]` are those of a step on `num_images` images of the whole world, round by round
    (`bench/results/memory_format.py`).
    """

    channels_last: bool
    num_images: Positive
    seconds: dict[str, Numbers]

    def rate(self, name: str) -> float:
        """Return the images a second of the median step in a format."""
        return self.num_images / statistics.median(self.seconds[name])


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DataInfo:
    """Which images a model saw.

    `protocol`: `split` chooses on validation, `published` looks at the test set. `stored_shape` is
    that of an image as it is stored (side, side, channels), `short_side` the pixels that the short
    side of a picture is resized to before such a centre is taken.
    """

    name: str
    stand_in: bool
    source: str
    checksum: str
    protocol: Literal["split", "published"]
    image_size: Positive
    num_train: Count
    num_validation: Count
    num_test: Count
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...] = ()
    superclass_of: tuple[Count, ...] = ()
    mean: tuple[Number, ...]
    std: tuple[Number, ...]
    stored_shape: Annotated[tuple[Positive, ...], NEWER] = ()
    short_side: Annotated[Positive | None, NEWER] = None

    def __post_init__(self) -> None:
        """Raise ValueError where a class has no superclass, or one that isn't there."""
        if not self.superclass_of:
            return
        if len(self.superclass_of) != len(self.class_names):
            raise ValueError("superclass_of doesn't cover every class")
        if max(self.superclass_of) >= len(self.superclass_names):
            raise ValueError("superclass_of names a superclass that isn't there")


class CellKey(NamedTuple):
    """Which cell of a run: a model with a seed, and which part of the data it sees.

    `fold` is the one that it is tested on, from 1; None where there is one test set.
    `images_per_class` is how many it learns from at most; None where that is all.
    """

    model: str
    seed: int
    fold: int | None = None
    images_per_class: int | None = None

    @property
    def name(self) -> str:
        """Return the name of the cell's folder: `MODEL-sSEED`, `MODEL-sSEED-fFOLD-nIMAGES`.

        A model whose name can't stand there as it is has a checksum of it behind `~`, which no
        other name has in its folder: `m/n.py:f` and `m-n.py:f` are two cells.
        """
        plain = plain_name(self.model)
        if plain != self.model:
            digest = hashlib.sha256(self.model.encode(errors="surrogateescape")).hexdigest()
            plain = f"{plain}~{digest[:DIGITS]}"
        return plain + self._ending

    @property
    def old_name(self) -> str:
        """Return the name of the folder in runs of which two models could have one."""
        return plain_name(self.model) + self._ending

    @property
    def _ending(self) -> str:
        numbers = (("s", self.seed), ("f", self.fold), ("n", self.images_per_class))
        return "".join(f"-{letter}{number}" for letter, number in numbers if number is not None)

    def __str__(self) -> str:
        """Return the cell as people are told of it: `lenet5, seed 0, fold 2`."""
        text = f"{self.model}, seed {self.seed}"
        if self.fold is not None:
            text += f", fold {self.fold}"
        if self.images_per_class is not None:
            text += f", {self.images_per_class} images a class"
        return text


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RunRecord:
    """One model with one seed, from `started` to its end.

    Everything that a report shows of it is in here. `fold` and `images_per_class` say which part of
    the data it saw, see `CellKey`.

    `batch_search` is what `--batch-size best` found: images a second by batch, and why no larger
    one was tried. `format_trial` is there where its memory format was left to the machine.
    """

    run: str
    model: str
    seed: int
    fold: Annotated[Positive | None, NEWER] = None
    images_per_class: Annotated[Positive | None, NEWER] = None
    status: Status
    error: str | None = None
    config: dict[str, JsonValue]
    spec: dict[str, JsonValue]
    layers: tuple[LayerCost, ...] = ()
    environment: dict[str, JsonValue]
    data: DataInfo
    stages: Annotated[tuple[Stage, ...], NEWER] = ()
    epochs: tuple[Epoch, ...] = ()
    accuracy: Accuracy | None = None
    measurements: tuple[Measurement, ...] = ()
    world_size: Positive
    batch_size: Positive
    num_parameters: Count | None = None
    num_local_parameters: Count | None = None
    multiply_adds: Count | None = None
    train_seconds: Seconds | None = None
    resumed_from: Count | None = None
    batch_search: dict[str, JsonValue] = field(default_factory=dict)
    format_trial: Annotated[FormatTrial | None, NEWER] = None
    checksums: dict[str, str] = field(default_factory=dict)
    created: str
    finished: str | None = None
    schema: int = SCHEMA

    @property
    def key(self) -> CellKey:
        """Which cell this is of."""
        return CellKey(self.model, self.seed, self.fold, self.images_per_class)

    @property
    def cell(self) -> str:
        """The cell's name, and its folder's: `MODEL-sSEED`."""
        return self.key.name

    @property
    def validation_top1(self) -> float | None:
        """Return the top-1 on validation at the end of training; None where it had none."""
        of_stages = [stage.evaluation for stage in self.stages]
        of_epochs = [row.evaluation for row in self.epochs]
        found = [each for each in (*of_stages, *of_epochs) if each is not None]
        return found[-1].top1 if found and found[-1].split == "validation" else None


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class NoiseFloor:
    """One model against itself.

    The ratio with its interval, and in how many of `windows` stretches one had won.
    """

    ratio: Number
    low: Number | None
    high: Number | None
    claims: Count
    windows: Count


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Comparison:
    """The models of a run measured against each other, once a model for all its seeds.

    `measurements[model]` holds one Measurement a metric; within a pass (`order`: pass -> round ->
    the contestants in the order drawn for that round) value i of every contestant was taken in
    round i, so values pair by index. `same_model_twice` holds `reference` measured a second time as
    a contestant of its own: the harness's own noise, of which `noise` says, by metric, what it
    would have led to. `conditions[part]` is what else the machine did meanwhile, `machine` what it
    can do at most, `sweeps[model]` inference at growing batches, and `sweep_ended` why no larger
    one. A run of several launches or groups has a Comparison each; groups share their reference.
    """

    run: str
    models: tuple[str, ...]
    reference: str
    order: dict[str, tuple[tuple[str, ...], ...]]
    ended_by: dict[str, Literal["interval", "seconds", "pairs"]]
    measurements: dict[str, tuple[Measurement, ...]]
    same_model_twice: tuple[Measurement, ...] = ()
    noise: dict[str, NoiseFloor] = field(default_factory=dict)
    conditions: dict[str, dict[str, Number]] = field(default_factory=dict)
    machine: tuple[Measurement, ...] = ()
    sweeps: dict[str, tuple[Measurement, ...]] = field(default_factory=dict)
    sweep_ended: dict[str, str] = field(default_factory=dict)
    launch: int = 0
    group: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    environment: dict[str, JsonValue]
    world_size: Positive
    batch_size: Positive
    created: str
    schema: int = SCHEMA


def plain_name(model: str) -> str:
    """Return what of a model's name can stand in a file's: others may have the same.

    Anything but letters, digits, `.` and `_` (`:` and `/` of foreign models) becomes `-`.
    """
    return "".join(c if c.isalnum() or c in "._" else "-" for c in model)[-MOST_CHARACTERS:]


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
