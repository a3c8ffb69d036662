"""LRN beside torch's, and AlexNet with either and with none: forward and backward on the CPU.

    python -m pytest -m micro tests/micro/test_layer_micro.py

Both sides run in one run. pytest-benchmark prints a table a group; compare the rows of one table
only.
"""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from zoo import create_model
from zoo.layer import LocalResponseNorm

pytestmark = pytest.mark.micro

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: LocalResponseNorm(5, 1e-4, 0.75, 2.0),
    "torch": lambda: nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0),
}
SHAPES = {"norm1": (64, 96, 55, 55), "norm2": (64, 256, 27, 27)}


class PerTower(nn.Module):
    """torch's LRN within each of two towers: the other side of the network's benchmark."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in x.chunk(2, 1)], 1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layer(benchmark: BenchmarkFixture, shape: str, layer: str) -> None:
    benchmark.group = f"LRN {shape}, batch 64, channels-last, forward and backward"
    norm = LAYERS[layer]()
    x = torch.randn(SHAPES[shape]).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn(SHAPES[shape]).contiguous(memory_format=torch.channels_last)
    benchmark.pedantic(lambda: norm(x).backward(gradient), rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("norm", ["ours", "torch", "none"])
def test_network(benchmark: BenchmarkFixture, norm: str) -> None:
    benchmark.group = "alexnet_grouped, 224 px, batch 64, channels-last, a training step"
    model = create_model("alexnet_grouped", lrn="off" if norm == "none" else "code")
    if norm == "torch":
        model.norm1, model.norm2 = PerTower(), PerTower()
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images = torch.randn(64, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(100, (64,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    benchmark.pedantic(step, rounds=5, warmup_rounds=1)
