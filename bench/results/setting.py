"""The table of settings: all that must agree before two rows are ranked together. No torch.

An option that affects speed is a field of RunConfig, an entry here, and the code that it switches.
Every record holds it, the CSV and the page show it, and rows that differ in it stand in rankings of
their own. One that torch or the machine may overrule is also in `Runtime.settings_in_force`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.results.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing that must agree, and how a record says it.

    `before` is what a record means that is older than the setting.
    """

    name: str
    label: str  # on the page: "Rows are ranked together only if … agree"
    read: Callable[[RunRecord], object]
    before: object = None
    in_csv: bool = False  # under its name, empty where a record lacks it
    in_force: bool = False  # an option of which the environment says what came of it

    def value(self, record: RunRecord) -> object:
        """Return what rows are compared by."""
        found = self.read(record)
        return self.before if found is None else found


def _option(
    name: str,
    label: str,
    *,
    place: Literal["config", "environment"] = "config",
    before: object = None,
    in_force: bool = False,
) -> Setting:
    """Build an entry that a record holds by its name, as it was asked for or as it was in force."""

    def read(record: RunRecord) -> object:
        return (record.config if place == "config" else record.environment).get(name)

    return Setting(name=name, label=label, read=read, before=before, in_csv=True, in_force=in_force)


def _batch_size(record: RunRecord) -> object:
    """Return the batch size; with `--batch-size best` that of each model is its own."""
    return "best" if record.config.get("best_batch") else record.batch_size


SETTINGS = (
    Setting(name="stand_in", label="stand-in data", read=lambda record: record.data.stand_in),
    Setting(name="data", label="data set", read=lambda record: record.data.name),
    Setting(name="checksum", label="data checksum", read=lambda record: record.data.checksum),
    Setting(name="protocol", label="protocol", read=lambda record: record.data.protocol),
    # What was asked for: without the option every model has its own size, and that is one rule.
    Setting(
        name="image_size",
        label="image size",
        read=lambda record: record.config.get("image_size"),
    ),
    Setting(name="batch_size", label="batch", read=_batch_size),
    _option("precision", "precision", in_force=True),
    _option("channels_last", "channels-last"),
    _option("compile", "compiled", before=False),
    _option("tf32", "TF32", place="environment", before=False, in_force=True),
    _option("cudnn_benchmark", "cuDNN benchmark", place="environment", before=False, in_force=True),
    _option("num_threads", "threads", place="environment", in_force=True),
    Setting(name="world_size", label="processes", read=lambda record: record.world_size),
    Setting(
        name="machine",
        label="machine",
        read=lambda record: record.environment.get("machine"),
        in_csv=True,
    ),
)


def asked_settings(record: RunRecord) -> dict[str, object]:
    """Return the options that were asked for and that the environment must say came into force.

    Without those that an older record lacks, or that were left to the machine.
    """
    asked = {
        setting.name: record.config.get(setting.name) for setting in SETTINGS if setting.in_force
    }
    return {name: value for name, value in asked.items() if value is not None}


LABELS = {setting.name: setting.label for setting in SETTINGS}


def ranking_key(record: RunRecord) -> dict[str, object]:
    """Return what must agree before two records stand in one ranking, by the setting's name."""
    return {setting.name: setting.value(record) for setting in SETTINGS}
