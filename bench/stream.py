"""Image folders that are decoded as training goes, by worker processes: the same pixels as from the cache."""

import signal
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from bench.data.folder import FolderImages
from bench.data.pixels import Cut, to_device
from bench.distributed.process import die_with_parent

AHEAD = 2  # batches that each worker holds ready


class Stream:
    """A folder's images as windows that are cut out of them as they are decoded; how many workers do it is theirs."""

    def __init__(self, images: FolderImages, size: int, device: torch.device) -> None:
        self.images = images
        self.size = size
        self.device = device

    def take(self, cuts: Iterable[Cut]) -> Iterator[torch.Tensor]:
        """Decode and cut, batch after batch in this order: (B, S, S, C) uint8 on the device."""
        decoded: DataLoader[NDArray[np.uint8]] = DataLoader(
            _Windows(self.images, list(cuts), self.size), batch_size=None, num_workers=self.images.num_workers,
            prefetch_factor=AHEAD, worker_init_fn=_heed_parent, generator=torch.Generator(),
        )  # fmt: skip
        return to_device(decoded, self.device)


class _Windows(Dataset[NDArray[np.uint8]]):
    """What each cut takes of the images."""

    def __init__(self, images: FolderImages, cuts: Sequence[Cut], size: int) -> None:
        self.images = images
        self.cuts = cuts
        self.size = size

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        batch = np.empty((len(self.cuts[number].rows), self.size, self.size, 3), np.uint8)
        for i, (row, dy, dx, mirror) in enumerate(zip(*self.cuts[number], strict=True)):
            window = self.images.decode(row)[dy : dy + self.size, dx : dx + self.size]
            batch[i] = window[:, ::-1] if mirror else window
        return batch


def _heed_parent(_: int) -> None:
    """Leave signals to the process that trains, which ends its workers; die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
