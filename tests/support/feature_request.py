"""A request that reads the frozen features of a small network on small data."""

from pathlib import Path

import pytest
import torch

from tests.support.image_factory import use_own_cache, write_cifar10
from tests.support.processes import argv_of
from zoo import create_model


def feature_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a request for a LeNet-5 with weights of its own on a small CIFAR-10, not reported."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    folder = write_cifar10(tmp_path / "cifar10")
    torch.manual_seed(5)
    torch.save(create_model("lenet5", num_classes=7).state_dict(), tmp_path / "lenet5.pth")
    return [
        *argv_of("--models lenet5 --dataset cifar10 --measure none --num-threads 1 --batch-size 8"),
        *argv_of(f"--data-dir {folder} --pretrained {tmp_path / 'lenet5.pth'}"),
    ]
