"""timm's MobileNetV2 through our trainer beside timm's own way of training it, in one run.

./launch.sh micro tests/micro/test_timm_micro.py     (aim: 2 times `train.py`; channels-last 1.1)

timm's `train.py` isn't in its package. The other side makes the same calls of timm with the values
that `train.py` has by default: `create_loader` (four workers, random resized crop with a random
interpolation, mirror, colour jitter), `create_optimizer_v2` (SGD, momentum 0.9), label smoothing of
0.1, float32 without autocast, the loss read every 50 steps. The images are PIL images in memory: no
file is opened.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2

from tests.micro.side import apart, open_images
from tests.micro.test_trainer_micro import BATCH, OURS, Images, endless, ours

pytestmark = pytest.mark.micro

NAME = "mobilenetv2_100"
STEPS = 20
LOG_EVERY = 50


class Pictures(Images):
    """PIL images with labels, and a place for the transform that `create_loader` makes."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


@contextmanager
def by_timm(channels_last: bool) -> Iterator[Callable[[], None]]:
    """Steps as `train.py` takes them, with its workers already running."""
    data = open_images()
    cpu = torch.device("cpu")
    model = timm.create_model(NAME, num_classes=len(data.class_names))
    model = model.to(memory_format=torch.channels_last) if channels_last else model
    loader = create_loader(
        Pictures(data),
        input_size=(3, 32, 32),
        batch_size=BATCH,
        is_training=True,
        interpolation="random",
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        color_jitter=0.4,
        num_workers=4,
        mean=data.mean,
        std=data.std,
        device=cpu,
    )
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    loss_of = LabelSmoothingCrossEntropy(0.1)
    batches: Iterator[Any] = endless(loader)
    next(batches)
    seen = 0

    def steps() -> None:
        nonlocal seen
        model.train()
        for _ in range(STEPS):
            images, labels = next(batches)
            images = (
                images.contiguous(memory_format=torch.channels_last) if channels_last else images
            )
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            seen += 1
            if seen % LOG_EVERY == 0:
                loss.item()

    yield steps


@pytest.mark.parametrize("side", ["ours", "train.py", "train.py --channels-last"])
def test_training(benchmark: Any, side: str) -> None:
    benchmark.group = f"timm:{NAME} at 32 px: {STEPS} steps of {BATCH}"
    made = (ours, f"timm:{NAME}", STEPS) if side == "ours" else (by_timm, side.endswith("last"))
    with apart(*made, environment=OURS if side == "ours" else {}) as steps:
        benchmark.pedantic(steps, rounds=3, warmup_rounds=1)
    assert benchmark.stats.stats.rounds == 3
