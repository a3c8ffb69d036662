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
class Beside:
    """A row's top-1 beside a published figure, with the reasons why they differ."""

    key: str
    model: str
    ours: Estimate
    published: Published
    reasons: tuple[str, ...]


@cache
def read_published() -> tuple[Published, ...]:
    """The published CIFAR-100 accuracies that come with the package."""
    text = (files("reports") / "published_cifar100.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            source=row["source"],
            model=row["model"],
            parameters_millions=float(row["parameters_millions"] or "nan"),
            top1=float(row["top1"]),
            epoch_reported=row["epoch_reported"],
            epochs=int(row["epochs"]) if row["epochs"] else None,
            recipe=row["recipe"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def plain_name(name: str) -> str:
    """A model's name without library, form and punctuation.

    `tv:mobilenet_v2_cifar` -> `mobilenetv2`.
    """
    bare = re.sub(r"^(tv|timm):", "", name.lower())
    bare = re.sub(r"(_cifar|_x1_0|_x1|1_1)$", "", bare.removesuffix("_cifar"))
    return re.sub(r"[^a-z0-9]", "", bare)


def beside(entries: Sequence[Entry]) -> list[Beside]:
    """Published figures of the rows' models; only for the real CIFAR-100."""
    rows = []
    for entry in entries:
        data = entry.record.data
        if data.stand_in or data.name != "cifar100" or "top1" not in entry.numbers:
            continue
        for published in read_published():
            if plain_name(published.model) == plain_name(entry.model):
                rows.append(
                    Beside(
                        entry.key,
                        entry.model,
                        entry.numbers["top1"],
                        published,
                        tuple(reasons(entry, published)),
                    )
                )
    return rows


def reasons(entry: Entry, published: Published) -> list[str]:
    """Why our figure and a published one differ, as far as the two say."""
    found = []
    epochs = entry.numbers["epochs"].value if "epochs" in entry.numbers else 0
    if published.epochs and round(epochs) != published.epochs:
        found.append(f"{published.epochs} epochs against our {epochs:.0f}")
    if "best" in published.epoch_reported and entry.record.data.protocol == "split":
        found.append("the best of many looks at the test set against one look")
    own_size, size = entry.record.spec.get("image_size"), entry.record.data.image_size
    if isinstance(own_size, int) and own_size > 2 * size:
        found.append(f"our stem is made for {own_size} px and read {size}")
    ours = (entry.record.num_parameters or 0) / 1e6
    if abs(ours / published.parameters_millions - 1) > PARAMETERS_ALIKE:
        found.append(
            f"another network: {published.parameters_millions:g} M parameters against {ours:.2f} M"
        )
    if entry.record.data.protocol == "split":
        found.append(f"50,000 training images against {entry.record.data.num_train:,}")
    found.append(published.recipe)
    return found
