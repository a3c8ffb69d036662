"""Published accuracies beside ours, and why the two differ."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bench.results.interval import Estimate
from reports.ranking import Entry

PARAMETERS_ALIKE = 0.05  # a network whose count differs by more is another network
MUCH_LARGER = 2  # a stem made for images larger by more than this factor shrinks ours too early


@dataclass(frozen=True)
class Published:
    """One published figure.

    Percent, parameters in millions, epochs trained, and which epoch was reported.
    """

    source: str
    model: str
    parameters_millions: float
    top1: float
    epoch_reported: str
    epochs: int | None
    recipe: str


@dataclass(frozen=True)
class PublishedComparison:
    """A row's top-1 beside a published figure, with the reasons why they differ."""

    key: str
    model: str
    ours: Estimate
    published: Published
    reasons: tuple[str, ...]


@cache
def read_published() -> tuple[Published, ...]:
    """Read the published CIFAR-100 accuracies that come with the package."""
    text = (files("reports") / "published_cifar100.csv").read_text(encoding="utf-8")
    found = []
    for row in csv.DictReader(text.splitlines()):
        published = Published(
            source=row["source"],
            model=row["model"],
            parameters_millions=float(row["parameters_millions"] or "nan"),
            top1=float(row["top1"]),
            epoch_reported=row["epoch_reported"],
            epochs=int(row["epochs"]) if row["epochs"] else None,
            recipe=row["recipe"],
        )
        found.append(published)
    return tuple(found)


def base_name(name: str) -> str:
    """Return a model's name without library, form and punctuation.

    `tv:mobilenet_v2_cifar` becomes `mobilenetv2`.
    """
    bare = re.sub(r"^(tv|timm):", "", name.lower()).removesuffix("_cifar")
    # Widths and versions that a published name leaves out: `shufflenet_v2_x1_0`, `squeezenet1_1`.
    bare = re.sub(r"(_cifar|_x1_0|_x1|1_1)$", "", bare)
    return re.sub(r"[^a-z0-9]", "", bare)


def compare_with_published(entries: Sequence[Entry]) -> list[PublishedComparison]:
    """Return published figures of the rows' models, for the real CIFAR-100 alone."""
    rows = []
    for entry in entries:
        data = entry.record.data
        if data.stand_in or data.name != "cifar100" or "top1" not in entry.numbers:
            continue
        ours = entry.numbers["top1"]
        for published in read_published():
            if base_name(published.model) == base_name(entry.model):
                reasons = tuple(why_they_differ(entry, published))
                row = PublishedComparison(entry.key, entry.name, ours, published, reasons)
                rows.append(row)
    return rows


def why_they_differ(entry: Entry, published: Published) -> list[str]:
    """Return the reasons why our figure and a published one differ, as far as they are known."""
    record = entry.record
    reasons = []
    epochs = entry.numbers["epochs"].value if "epochs" in entry.numbers else 0
    if published.epochs and round(epochs) != published.epochs:
        reasons.append(f"{published.epochs} epochs against our {epochs:.0f}")
    if "best" in published.epoch_reported and record.data.protocol == "split":
        reasons.append("the best of many looks at the test set against one look")
    own_size, size = record.spec.get("image_size"), record.data.image_size
    if isinstance(own_size, int) and own_size > MUCH_LARGER * size:
        reasons.append(f"our stem is made for {own_size} px and was given {size} px")
    ours, theirs = (record.num_parameters or 0) / 1e6, published.parameters_millions
    if abs(ours / theirs - 1) > PARAMETERS_ALIKE:
        reasons.append(f"another network: {theirs:g} M parameters against our {ours:.2f} M")
    if record.data.protocol == "split":
        reasons.append(f"50,000 training images against our {record.data.num_train:,}")
    reasons.append(published.recipe)
    return reasons
