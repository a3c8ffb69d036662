"""A folder's images as windows that are cut out while they are decoded, by worker processes."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from bench.data.class_folder import show
from bench.data.folder import FolderImages
from bench.data.pixels import Cut, to_device
from bench.distributed.process import die_with_parent
from zoo.cause import first_line

AHEAD = 2  # batches that each worker holds ready

Windows = NDArray[np.uint8] | str


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
        decoded: DataLoader[Windows] = DataLoader(
            # All cuts at once: the workers are started with them, and are sent numbers later.
            _Windows(self.images, list(cuts), self.size),
            batch_size=None,
            num_workers=self.images.num_workers,
            prefetch_factor=AHEAD,
            worker_init_fn=_heed_parent,
            # Arrays go through a pipe as they are. torch would turn them into tensors, which go
            # through /dev/shm: where that is full, a worker loses its batch without a word.
            collate_fn=_leave_as_it_is,
            timeout=self.images.timeout,
            # One of its own: the loader draws a seed for its workers, and it would draw it from the
            # generator that dropout uses.
            generator=torch.Generator(),
        )
        return to_device(self._await_batches(decoded), self.device)

    def _await_batches(self, decoded: DataLoader[Windows]) -> Iterator[torch.Tensor]:
        """Give what the workers send.

        ValueError where a file can't be read, RuntimeError where nothing comes.
        """
        batches = iter(decoded)
        try:
            for windows in batches:
                if isinstance(windows, str):
                    raise ValueError(windows)
                yield torch.from_numpy(windows)
        except RuntimeError as error:
            # torch's words for a worker that was killed, or that has sent nothing for so long.
            raise RuntimeError(
                f"--workers {self.images.num_workers}: {first_line(error)}; raise --timeout if the "
                "disk is slow, or leave --workers out to decode once into the cache"
            ) from error
        finally:
            _end_workers(batches)


class _Windows(Dataset[Windows]):
    """The windows (B, S, S, 3) of each cut, decoded when they are asked for.

    Or which file can't be decoded and why: an exception would come with a worker's whole traceback.
    """

    def __init__(self, images: FolderImages, cuts: Sequence[Cut], size: int) -> None:
        self.images = images
        self.cuts = cuts
        self.size = size

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, number: int) -> Windows:
        windows = []
        for row, dy, dx, mirror in zip(*self.cuts[number], strict=True):
            try:
                image = self.images.decode(row)
            except Exception as error:
                path = self.images.paths[row]
                return f"{show(path)}: can't be read any more ({show(first_line(error))})"
            window = image[dy : dy + self.size, dx : dx + self.size]
            windows.append(window[:, ::-1] if mirror else window)
        return np.stack(windows)


def _leave_as_it_is(windows: Any) -> Any:
    return windows


def _end_workers(batches: Any) -> None:
    """End the workers of a loader's iterator, also one that hangs.

    torch would send it SIGTERM, to which workers are deaf, and Python's exit would wait for it.
    """
    workers = batches._workers
    # By torch first: it takes a worker that dies before that for a fault.
    batches._shutdown_workers()
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def _heed_parent(_: int) -> None:
    """Leave signals to the process that trains, which ends its workers; die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
