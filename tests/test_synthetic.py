"""The embedded stand-in.

Oracles: its recorded checksums, a linear model's accuracy, and the kernel's own count of the memory
that a second process adds.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.data import dataset as data
from bench.data import set_build, synthetic
from bench.data.dataset import Dataset, open_dataset

MEMORY_SCRIPT = """
import sys
from bench.data.dataset import open_dataset

def kilobytes(kind):
    lines = open("/proc/self/smaps_rollup").readlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))

private = kilobytes("Private")
found = open_dataset("synthetic", None)
images = found.train.images
print(sum(int(images[i : i + 1000].sum()) for i in range(0, len(images), 1000)), flush=True)
sys.stdin.readline()
print(kilobytes("Private") - private, flush=True)
print(kilobytes("Rss"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return open_dataset("synthetic", None)


def test_its_bytes_are_the_recorded_ones(stand_in: Dataset) -> None:
    for part, recorded in (
        (stand_in.train, synthetic.CHECKSUM_TRAIN),
        (stand_in.test, synthetic.CHECKSUM_TEST),
    ):
        images = np.ascontiguousarray(part.images[:, 4:36, 4:36])
        total = hashlib.sha256(
            str(images.shape).encode() + images.tobytes() + part.labels.astype("<i8").tobytes()
        )
        assert total.hexdigest() == recorded


def test_it_has_the_form_of_cifar100_and_says_what_it_is(stand_in: Dataset) -> None:
    assert stand_in.stand_in
    assert stand_in.source == "embedded"
    assert stand_in.train.images.shape == (50_000, 40, 40, 3)
    assert np.bincount(stand_in.train.labels).tolist() == [500] * 100
    assert np.bincount(stand_in.test.labels).tolist() == [100] * 100
    assert np.bincount(stand_in.superclass_of).tolist() == [5] * 20
    assert len(set(stand_in.class_names)) == 100
    assert len(stand_in.validation_indices) == 5_000
    assert stand_in.class_names[7] == "striped_ring"
    assert stand_in.superclass_names[stand_in.superclass_of[7]] == "ring"


def test_no_image_is_there_twice(stand_in: Dataset) -> None:
    sums = [
        hashlib.sha256(image.tobytes()).digest()
        for part in (stand_in.train, stand_in.test)
        for image in part.images
    ]
    assert len(set(sums)) == 60_000


def test_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(set_build, "CHECKSUMS", {("synthetic", "train"): "0"})
    monkeypatch.setattr(synthetic, "NUM_TRAIN", 2)
    monkeypatch.setattr(synthetic, "NUM_TEST", 2)
    with pytest.raises(
        ValueError, match=r"synthetic: the train images have checksum .*, expected 0"
    ):
        open_dataset("synthetic", None)


@pytest.mark.slow
def test_linear_model_stays_under_15_percent(stand_in: Dataset) -> None:
    torch.manual_seed(0)
    images, labels = flat(stand_in.train), torch.from_numpy(stand_in.train.labels)
    model = torch.nn.Linear(images.shape[1], 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9, nesterov=True)
    epochs, batch = 6, 128
    for step in range(epochs * len(images) // batch):
        optimizer.param_groups[0]["lr"] = 0.002 * (1 - step / (epochs * len(images) // batch))
        rows = torch.randint(len(images), (batch,))
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(images[rows]), labels[rows]))
        optimizer.step()
    right = (
        (model(flat(stand_in.test)).argmax(1) == torch.from_numpy(stand_in.test.labels))
        .float()
        .mean()
        .item()
    )
    assert 0.03 < right < 0.15


def flat(images: data.ImageSet) -> torch.Tensor:
    return (
        torch.from_numpy(images.images[:, 4:36, 4:36].reshape(len(images.labels), -1)).float() / 64
        - 2
    )


def test_second_process_adds_no_copy_of_the_data(stand_in: Dataset, folder: Path) -> None:
    """Both processes touch all 240 MB; of these pages the second holds under 20 MB for itself."""
    command = [sys.executable, "-c", MEMORY_SCRIPT]
    environment = {
        "XDG_CACHE_HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    processes = [
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    sums = [process.stdout.readline() for process in processes if process.stdout]
    assert sums[0] == sums[1] != ""
    second = processes[1]
    assert second.stdin
    assert second.stdout
    second.stdin.write("\n")
    second.stdin.flush()
    private, resident = int(second.stdout.readline()), int(second.stdout.readline())
    for process in processes:
        process.communicate("\n\n", timeout=60)
    assert resident > 240_000, "kB: the pages were not touched"
    assert private < 20_000
