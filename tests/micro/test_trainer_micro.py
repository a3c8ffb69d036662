"""How fast training is beside the tutorial's loop, both in one run. Oracle: the tutorial's own parts, by torchvision.

The tutorial's loop: a torchvision-style data set of PIL images with its transforms, a DataLoader with two workers, and
plain PyTorch. `./launch.sh micro tests/micro/test_trainer_micro.py` prints both; the ratio is that of the means.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from bench.cell import Bench, build_loader, build_model
from bench.config import parse
from bench.data import Dataset
from bench.runtime import Runtime
from bench.trainer import Hooks, Progress, build_learner, fit
from zoo.registry import create_model, resolve

pytestmark = pytest.mark.micro

BATCH = 128
STEPS = 120


class Images(torch.utils.data.Dataset[tuple[Any, int]]):
    """The same images as torchvision's CIFAR classes give them: PIL, through transforms."""

    def __init__(self, data: Dataset) -> None:
        window = slice(data.margin, data.margin + data.size)
        self.images = np.ascontiguousarray(data.train.images[:, window, window])
        self.labels = data.train.labels.tolist()
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def tutorial(data: Dataset, name: str) -> Callable[[], None]:
    """Steps of the loop that tutorials teach, with its workers already running."""
    loader = DataLoader(Images(data), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True)
    model = create_model(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    batches = endless(loader)
    next(batches)

    def steps() -> None:
        model.train()
        for _ in range(STEPS):
            images, labels = next(batches)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()

    return steps


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def ours(data: Dataset, name: str, runtime: Runtime, *, num_steps: int = STEPS) -> Callable[[], None]:
    """The same number of steps by `fit`."""
    spec = resolve(name)
    config = dataclasses.replace(parse(["--recipe", "smoke"]), seconds=None, epochs=1, image_size=32)
    bench = Bench(config, data, runtime, Path(), {})
    batches = build_loader(spec, 0, bench)
    learner = build_learner(build_model(spec, 0, bench), config=config, peak=0.01, seed=0, runtime=runtime)
    batches.steps_per_epoch = num_steps

    def steps() -> None:
        list(fit(learner, batches, Progress(), Hooks(lambda p: None, lambda share, p: None)))

    return steps


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v2"])
@pytest.mark.parametrize("side", ["ours", "tutorial"])
def test_training(benchmark: Any, data: Dataset, name: str, side: str) -> None:
    benchmark.group = f"{name}: {STEPS} steps of {BATCH}"
    with Runtime.start(parse(["--recipe", "smoke"])) as runtime:
        steps = ours(data, name, runtime) if side == "ours" else tutorial(data, name)
        benchmark.pedantic(steps, rounds=3, warmup_rounds=1)
    assert benchmark.stats.stats.rounds == 3
