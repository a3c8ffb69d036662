"""Published parameter counts against the zoo's.

Oracle: `reports/published_cifar100.csv`, as printed by its sources.

Where a name is another network than ours, DIFFERENT says how, and by how many parameters if that is
known.
"""

import csv
from importlib.resources import files

import pytest

from reports.published import base_name
from zoo import list_models
from zoo.spec import ModelSpec

OURS = {base_name(spec.name): spec for spec in reversed(list_models()) if spec.image_size == 32}
ROWS = [
    row
    for row in csv.DictReader(
        (files("reports") / "published_cifar100.csv").read_text(encoding="utf-8").splitlines()
    )
    if base_name(row["model"]) in OURS
]

SHORTCUTS = 16 * 32 + 32 * 64 + 2 * (32 + 64)  # option B: 1x1 convolutions, normalised
WIDE_HEAD = 512 * 4096 + 4096 * 4096 + 4096 * 100 - 2 * 512 * 512 - 512 * 100 + 2 * 4096 - 2 * 512
ONE_LAYER_HEAD_OF_10 = -2 * (512 * 512 + 512) - 90 * 512 - 90
TEN_CLASSES = -90 * 342 - 90
UNKNOWN = "another network of this name: how is not said"
DIFFERENT: dict[tuple[str, str], tuple[str, int | None]] = {
    ("chenyaofo", "resnet44"): ("1x1 convolutions in its shortcuts", SHORTCUTS),
    ("osmr", "resnet110"): ("1x1 convolutions in its shortcuts", SHORTCUTS),
    ("weiaicunzai", "vgg11_bn"): ("hidden layers of 4,096 units", WIDE_HEAD),
    ("weiaicunzai", "vgg13_bn"): ("hidden layers of 4,096 units", WIDE_HEAD),
    ("weiaicunzai", "vgg16_bn"): ("hidden layers of 4,096 units", WIDE_HEAD),
    ("weiaicunzai", "vgg19_bn"): (
        "hidden layers of 4,096 units, its count printed without its decimals",
        None,
    ),
    ("bearpaw", "vgg19_bn"): (
        "one linear layer as its head, counted for 10 classes",
        ONE_LAYER_HEAD_OF_10,
    ),
    ("bearpaw", "densenet_bc_100_12"): ("counted for 10 classes", TEN_CLASSES),
    ("bearpaw", "resnet110"): (UNKNOWN, None),
    ("weiaicunzai", "mobilenetv2"): (UNKNOWN, None),
    ("weiaicunzai", "squeezenet"): (UNKNOWN, None),
    ("weiaicunzai", "shufflenetv2"): (UNKNOWN, None),
    ("weiaicunzai", "preactresnet18"): (UNKNOWN, None),
    ("weiaicunzai", "googlenet"): ("two 3x3 for each 5x5, and another stem", None),
    ("weiaicunzai", "inceptionv3"): (UNKNOWN, None),
    ("weiaicunzai", "seresnet18"): (UNKNOWN, None),
    ("weiaicunzai", "seresnet50"): (UNKNOWN, None),
}


def is_as_printed(num_parameters: int, millions: str) -> bool:
    """Whether a count rounds to what is printed, to its last digit."""
    digits = len(millions.partition(".")[2])
    return abs(num_parameters / 1e6 - float(millions)) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['source']}-{row['model']}-{row['epoch_reported']}"
)
def test_counts_are_as_printed_or_the_difference_is_known(row: dict[str, str]) -> None:
    ours: ModelSpec = OURS[base_name(row["model"])]
    name = row["source"].partition("/")[0], row["model"]
    same = is_as_printed(ours.num_parameters, row["parameters_millions"])
    assert same == (name not in DIFFERENT)
    more = DIFFERENT[name][1] if name in DIFFERENT else None
    if more is not None:
        assert is_as_printed(ours.num_parameters + more, row["parameters_millions"])


def test_no_difference_is_noted_of_a_network_that_is_not_there() -> None:
    assert DIFFERENT.keys() <= {(row["source"].partition("/")[0], row["model"]) for row in ROWS}
    assert len(ROWS) > 40
