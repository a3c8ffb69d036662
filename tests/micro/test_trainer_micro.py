"""How fast training is beside the tutorial's loop, both in one run.

Oracle: the tutorial's own parts, by torchvision.

./launch.sh micro tests/micro/test_trainer_micro.py  (aims: LeNet-5 3.2 times, others 2.3)

The tutorial's loop: a torchvision-style data set of PIL images with its transforms, a DataLoader
with two workers, and plain PyTorch. Each side trains in a process of its own, in the environment
that `bench/run.py` or a plain script has.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from bench.data.dataset import Dataset
from bench.distributed.process import LARGE_PAGES
from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.train.build import RunContext, build_learner, build_loader, build_model
from bench.train.trainer import Hooks, Progress, fit
from tests.micro.side import apart, open_images
from zoo.registry import create_model, resolve

pytestmark = pytest.mark.micro

BATCH = 128
STEPS = {
    "lenet5": 120,
    "squeezenet1_1": 60,
    "shufflenet_v2_x1_0": 40,
    "mobilenet_v2": 20,
}  # some seconds of each
OURS: Mapping[str, str] = {LARGE_PAGES: "1"}


class Images(torch.utils.data.Dataset[tuple[Any, int]]):
    """The same images as torchvision's CIFAR classes give them: PIL, through transforms."""

    def __init__(self, data: Dataset) -> None:
        window = slice(data.margin, data.margin + data.size)
        self.images = np.ascontiguousarray(data.train.images[:, window, window])
        self.labels = data.train.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


@contextmanager
def tutorial(name: str, num_steps: int) -> Iterator[Callable[[], None]]:
    """Steps of the loop that tutorials teach, with its workers already running."""
    data = open_images()
    loader = DataLoader(Images(data), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True)
    model = create_model(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    batches = endless(loader)
    next(batches)

    def steps() -> None:
        model.train()
        for _ in range(num_steps):
            images, labels = next(batches)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()

    yield steps


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


@contextmanager
def ours(name: str, num_steps: int) -> Iterator[Callable[[], None]]:
    """Steps by `fit`."""
    spec = resolve(name)
    config = dataclasses.replace(
        parse(["--recipe", "smoke"]), seconds=None, epochs=1, image_size=32
    )
    with Runtime.start(config) as runtime:
        context = RunContext(config, open_images(), runtime, Path(), {})
        batches = build_loader(spec, 0, context)
        learner = build_learner(
            runtime.place_model(build_model(spec, 0, context), {}),
            config=config,
            peak=0.01,
            seed=0,
            runtime=runtime,
        )
        batches.steps_per_epoch = num_steps

        def steps() -> None:
            list(fit(learner, batches, Progress(), Hooks(lambda p: None, lambda share, p: None)))

        yield steps


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("side", ["ours", "tutorial"])
def test_training(benchmark: Any, name: str, side: str) -> None:
    benchmark.group = f"{name}: {STEPS[name]} steps of {BATCH}"
    make, environment = (ours, OURS) if side == "ours" else (tutorial, {})
    with apart(make, name, STEPS[name], environment=environment) as steps:
        benchmark.pedantic(steps, rounds=5, warmup_rounds=1)
    assert benchmark.stats.stats.rounds == 5
