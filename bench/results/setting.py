"""The table of settings: all that must agree before two rows are ranked together. No torch.

An option that may change a number is a field of RunConfig, an entry here, and the code that it
switches. Every record holds it, the CSV and the page show it, and rows that differ in it stand in
rankings of their own. One that torch or the machine may overrule is also in
`Runtime.settings_in_force`.

What a request asks of all its models alike must agree. What it leaves to them (a rate, an
optimiser, an image size of their own) is one rule: each as its authors meant it. The commit is not
here, since two versions of this code are compared on purpose; the page names both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.results.memory_format import asked_format
from bench.results.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing that must agree, and how a record says it.

    `before` is what a record means that is older than the setting, `unset` what the page says where
    nothing was asked for.
    """

    name: str
    label: str  # on the page: "Rows are ranked together only if … agree"
    read: Callable[[RunRecord], object]
    before: object = None
    in_csv: bool = False  # under its name, empty where a record lacks it
    in_force: bool = False  # an option of which the environment says what came of it
    unset: str = "none"

    def value(self, record: RunRecord) -> object:
        """Return what rows are compared by."""
        found = self.read(record)
        return self.before if found is None else found


def _option(
    name: str,
    label: str,
    *,
    place: Literal["config", "environment"] = "config",
    key: str = "",
    before: object = None,
    in_force: bool = False,
    unset: str = "none",
) -> Setting:
    """Build an entry that a record holds by its name, as it was asked for or as it was in force.

    `key` is its name there where the table's has another meaning.
    """

    def read(record: RunRecord) -> object:
        return (record.config if place == "config" else record.environment).get(key or name)

    return Setting(
        name=name,
        label=label,
        read=read,
        before=before,
        in_csv=True,
        in_force=in_force,
        unset=unset,
    )


def _kernels(name: str, label: str) -> Setting:
    """Build the entry of whose convolutions a record was made with."""

    def read(record: RunRecord) -> object:
        # A GPU never had any but the library's, whether a record says so or not.
        on_gpu = record.environment.get("device") == "cuda"
        return record.environment.get(name, "torch" if on_gpu else None)

    # Before there was a choice, 1x1 convolutions were products on a CPU, in inference too.
    before = "1x1 products"
    return Setting(
        name=name, label=label, read=read, before=before, in_csv=True, in_force=name == "kernels"
    )


def _batch_size(record: RunRecord) -> object:
    """Return the batch size; with `--batch-size best` that of each model is its own."""
    return "best" if record.config.get("best_batch") else record.batch_size


def _augment(record: RunRecord) -> object:
    """Return the augmentations: they are applied in one order, whatever order they are given in."""
    given = record.config.get("augment")
    return "+".join(sorted(map(str, given))) if isinstance(given, list) else None


def _classes(record: RunRecord) -> object:
    """Return the classes that were asked for, None for all."""
    given = record.config.get("classes")
    return "+".join(map(str, given)) or None if isinstance(given, list) else None


def _patience(record: RunRecord) -> object:
    """Return the patience of a schedule that has any."""
    return record.config.get("patience") if record.config.get("schedule") == "plateau" else None


def _packed(record: RunRecord) -> object:
    """Return how many cells ran side by side."""
    return record.config.get("pack_size") or "auto" if record.config.get("pack") else None


DATA = (
    Setting(name="stand_in", label="stand-in data", read=lambda record: record.data.stand_in),
    Setting(name="data", label="data set", read=lambda record: record.data.name),
    Setting(name="checksum", label="data checksum", read=lambda record: record.data.checksum),
    Setting(name="protocol", label="protocol", read=lambda record: record.data.protocol),
    _option("folds", "folds"),
    Setting(name="classes", label="classes", read=_classes, in_csv=True, unset="all"),
    Setting(
        name="images_per_class",
        label="images of a class at most",
        read=lambda record: record.images_per_class,
        in_csv=True,
        unset="all",
    ),
    _option("imbalance", "imbalance"),
    # What was asked for: without it every model has a size of its own, and that is one rule.
    Setting(
        name="image_size",
        label="image size",
        read=lambda record: record.config.get("image_size"),
        unset="own",
    ),
)
LEARNING = (
    # The column `epochs` says how many there were.
    _option("budget_epochs", "budget of epochs", key="epochs"),
    _option("budget_seconds", "budget of seconds", key="seconds"),
    Setting(name="batch_size", label="batch", read=_batch_size),
    _option("accumulate", "micro-batches", before=1),
    # A record's config has those that its model was trained with. Records from before what was
    # asked for was kept don't say it.
    _option("asked_optimizer", "optimiser", place="environment", unset="own"),
    _option("asked_lr", "learning rate", place="environment", unset="own"),
    _option("momentum", "momentum"),
    _option("weight_decay", "weight decay"),
    _option("schedule", "schedule"),
    Setting(name="patience", label="patience", read=_patience, in_csv=True),
    _option("warmup", "warm-up"),
    _option("label_smoothing", "label smoothing"),
    _option("dropout", "dropout", unset="own"),
    _option("drop_path", "stochastic depth", unset="own"),
    _option("clip", "clipping"),
    _option("ema", "weight averaging"),
    Setting(name="augment", label="augmentation", read=_augment, in_csv=True),
    _option("drop_duplicates", "doubles of test images left out", before=False),
    _option("balance", "balanced classes", before=False),
    _option("class_weights", "class weights", before=False),
    _option("pretrained", "pretrained weights", before="none"),
    _option("train_mode", "what is trained", key="train", before="all"),
    _option("crops", "crops", before=1),
)
MACHINE = (
    _option("precision", "precision", in_force=True),
    # The column `channels_last` says what a model had.
    Setting(name="channels_last", label="channels-last", read=asked_format),
    _option("compile", "compiled", before=False),
    _kernels("kernels", "training's kernels"),
    _kernels("infer_kernels", "inference's kernels"),
    _option("tf32", "TF32", place="environment", before=False, in_force=True),
    _option("cudnn_benchmark", "cuDNN benchmark", place="environment", before=False, in_force=True),
    _option("exact", "exact sums", before=False),
    _option("sync_batchnorm", "shared batch normalisation", before=False),
    _option("num_threads", "threads", place="environment", in_force=True),
    _option("workers", "decoding workers"),
    Setting(name="packed", label="cells side by side", read=_packed, in_csv=True),
    _option("parallel", "parallelism", before="data"),
    Setting(name="world_size", label="processes", read=lambda record: record.world_size),
    Setting(
        name="machine",
        label="machine",
        read=lambda record: record.environment.get("machine"),
        in_csv=True,
    ),
    _option("torch", "torch", place="environment"),
    _option("cuda", "CUDA", place="environment"),
    _option("cpu_capability", "processor kernels", place="environment"),
    # None but under bf16 on a CPU: emulated products are hundreds of times slower than the unit's.
    _option("bf16_unit", "bf16 unit", place="environment"),
    _option("large_pages", "large pages", place="environment"),
    _option("deterministic", "deterministic", place="environment", before=False),
)
SETTINGS = (*DATA, *LEARNING, *MACHINE)


def asked_settings(record: RunRecord) -> dict[str, object]:
    """Return the options that were asked for and that the environment must say came into force.

    Without those that an older record lacks, or that were left to the machine.
    """
    asked = {
        setting.name: record.config.get(setting.name) for setting in SETTINGS if setting.in_force
    }
    return {name: value for name, value in asked.items() if value is not None}


LABELS = {setting.name: setting.label for setting in SETTINGS}
UNSET = {setting.name: setting.unset for setting in SETTINGS}


def ranking_key(record: RunRecord) -> dict[str, object]:
    """Return what must agree before two records stand in one ranking, by the setting's name."""
    return {setting.name: setting.value(record) for setting in SETTINGS}
