"""Worlds of several processes, by the same entry as a launcher's workers. Oracle: gradient accumulation in one process,
to the bit: weights with running statistics, and the losses of every epoch.
"""

import signal
from pathlib import Path

import pytest

from bench.config import parse
from bench.record import RunRecord, read
from bench.request import check_request, complete
from tests.image_factory import random_images, write_parquet
from tests.worlds import run_world

pytestmark = pytest.mark.distributed

SMALL = ["--dataset", "cifar10", "--epochs", "2", "--batch-size", "24", "--num-threads", "1", "--measure", "none"]
# A signal to itself at a given training pass; with batch normalisation and dropout, and with neither.
NETWORK = """
import os, signal
from torch import nn

class Net(nn.Sequential):
    passes = 0

    def forward(self, images):
        self.passes += self.training
        if self.training and self.passes == int(os.environ.get("STOP_AT", 0)):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(images)

def net(num_classes=10):
    body = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()]
    return Net(*body, nn.Flatten(), nn.Dropout(0.3), nn.Linear(784, num_classes))

def plain(num_classes=10):
    return Net(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, num_classes))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CIFAR-10 in the hub's layout and a file with a model."""
    folder = tmp_path_factory.mktemp("worlds")
    for part, n, seed in (("train", 240, 0), ("test", 50, 1)):
        images, labels = random_images(n, seed)
        write_parquet(folder / "cifar10", part, images, {"label": labels.tolist()})
    (folder / "net.py").write_text(NETWORK)
    return folder


def run(
    place: Path, name: str, size: int, *words: str, models: tuple[str, ...] = ("net",), stop_at: int = 0
) -> list[int]:
    ours = [f"{place / 'net.py'}:{model}" if model in ("net", "plain") else model for model in models]
    argv = ["--models", *ours, *SMALL, *words, "--out", str(place / name)]
    return run_world(size, argv, ZOOMETRY_DATA=str(place), XDG_CACHE_HOME=str(place / "cache"), STOP_AT=str(stop_at))


def outcome(place: Path, name: str) -> dict[str, tuple[str, list[float]]]:
    """Each model's weights, as their checksum, and its losses."""
    records = [read(path, RunRecord) for path in (place / name).glob("cells/*/record.json")]
    assert {record.status for record in records} == {"ok"}
    return {
        record.model: (record.checksums["model.safetensors"], [row.train_loss for row in record.epochs])
        for record in records
    }


def test_two_processes_are_two_micro_batches_of_one(place: Path) -> None:
    models = ("lenet5", "alexnet_half_cifar", "net")
    assert run(place, "world2", 2, models=models) == [0, 0]
    assert run(place, "parts2", 1, "--accumulate", "2", models=models) == [0]
    assert outcome(place, "world2") == outcome(place, "parts2")
    assert len(outcome(place, "world2")) == 3


def test_three_processes_in_order_are_three_micro_batches_of_one(place: Path) -> None:
    assert run(place, "world3", 3, "--exact") == [0, 0, 0]
    assert run(place, "parts3", 1, "--accumulate", "3") == [0]
    assert outcome(place, "world3") == outcome(place, "parts3")


def test_a_run_goes_on_in_another_world_to_the_bit_with_as_many_micro_batches(place: Path) -> None:
    """18 steps by 2 processes, then 1 with two micro-batches a step, then 2."""
    stopped = 128 + signal.SIGTERM
    assert run(place, "moved", 2, stop_at=4) == [stopped] * 2
    assert run(place, "moved", 1, "--resume", "--accumulate", "2", stop_at=9) == [stopped]
    assert run(place, "moved", 2, "--resume") == [0, 0]
    assert run(place, "unmoved", 2) == [0, 0]
    assert outcome(place, "moved") == outcome(place, "unmoved")


def test_a_run_goes_on_in_another_world_with_larger_micro_batches(place: Path) -> None:
    """Without dropout and normalisation only rounding differs, and losses are still means over the epoch's images."""
    assert run(place, "larger", 2, models=("plain",), stop_at=4) == [128 + signal.SIGTERM] * 2
    assert run(place, "larger", 1, "--resume", models=("plain",)) == [0]
    assert run(place, "one", 1, models=("plain",)) == [0]
    (_, found), (_, expected) = (next(iter(outcome(place, name).values())) for name in ("larger", "one"))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "world_size", "line"),
    [
        (["--exact", "--accumulate", "2"], 2, "--exact --accumulate 2: of 2 processes"),
        (["--sync-batchnorm"], 1, "--sync-batchnorm: one process"),
        (["--sync-batchnorm"], 2, "--sync-batchnorm: torch has it for GPUs only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ways_of_joining_that_can_not_be_are_refused(
    words: list[str], world_size: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = complete(parse(["--models", "lenet5", "--dataset", "synthetic", *words, "--out", str(tmp_path / "run")]))
    with pytest.raises(ValueError, match=line) as refused:
        check_request(config, world_size=world_size)
    assert "\n" not in str(refused.value)
