"""A folder's images as windows that are cut out while they are decoded, by worker processes."""

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
    """Images that are decoded whenever they are read, to take windows of `size` px from.

    How many workers do it, the images say.
    """

    def __init__(self, images: FolderImages, size: int, device: torch.device) -> None:
        self.images = images
        self.size = size
        self.device = device

    def take(self, cuts: Iterable[Cut]) -> Iterator[torch.Tensor]:
        """Decode and cut, batch after batch in this order: (B, S, S, C) uint8 on the device."""
        decoded: DataLoader[NDArray[np.uint8]] = DataLoader(
            # All cuts at once: the workers are started with them, and are sent numbers later.
            _Windows(self.images, list(cuts), self.size),
            batch_size=None,
            num_workers=self.images.num_workers,
            prefetch_factor=AHEAD,
            worker_init_fn=_heed_parent,
            # One of its own: the loader draws a seed for its workers, and it would draw it from the
            # generator that dropout uses.
            generator=torch.Generator(),
        )
        return to_device(decoded, self.device)


class _Windows(Dataset[NDArray[np.uint8]]):
    """The windows (B, S, S, 3) of each cut, decoded when they are asked for."""

    def __init__(self, images: FolderImages, cuts: Sequence[Cut], size: int) -> None:
        self.images = images
        self.cuts = cuts
        self.size = size

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        windows = []
        for row, dy, dx, mirror in zip(*self.cuts[number], strict=True):
            image = self.images.decode(row)
            window = image[dy : dy + self.size, dx : dx + self.size]
            windows.append(window[:, ::-1] if mirror else window)
        return np.stack(windows)


def _heed_parent(_: int) -> None:
    """Leave signals to the process that trains, which ends its workers; die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
