"""The loader against torchvision's transforms on PIL images in a DataLoader without workers.

./launch.sh micro tests/micro/test_loader_micro.py     (aim: 25 times; images/s = 128 * OPS)
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

from bench.data.dataset import Dataset
from bench.data.loader import Loader
from bench.data.pixels import ModelInput
from tests.support.image_factory import memory_dataset

pytestmark = pytest.mark.micro
BATCH = 128
DATASET = memory_dataset(20_000)


def endless(epochs: Callable[[int], Iterator[Any]]) -> Iterator[Any]:
    return (batch for epoch in count() for batch in epochs(epoch))


def ours(dataset: Dataset, channels_last: bool) -> Iterator[Any]:
    taken = ModelInput(dataset.mean, dataset.std, channels_last, torch.device("cpu"))
    loader = Loader(dataset, taken, batch_size=BATCH, seed=0)
    return endless(loader.epoch)


class Pictures(TorchDataset[Any]):
    """The set as torchvision's CIFAR classes give it.

    One PIL image at a time, through the usual transforms.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.images = np.ascontiguousarray(dataset.train.images[:, 4:36, 4:36])
        self.labels = dataset.train.labels
        self.transform = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(dataset.mean), list(dataset.std)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Any:
        return self.transform(self.images[row]), int(self.labels[row])


@pytest.mark.benchmark(group="loader")
@pytest.mark.parametrize("channels_last", [True, False])
def test_our_loader(benchmark: Any, channels_last: bool) -> None:
    batches = ours(DATASET, channels_last)
    benchmark.pedantic(lambda: next(batches), rounds=300, warmup_rounds=30)


@pytest.mark.benchmark(group="loader")
def test_torchvisions_transforms(benchmark: Any) -> None:
    loader = DataLoader(Pictures(DATASET), BATCH, shuffle=True)
    batches = endless(lambda _: iter(loader))
    benchmark.pedantic(lambda: next(batches), rounds=30, warmup_rounds=3)
