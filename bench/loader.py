"""Whole batches, not images: one gather from the padded uint8 set, one multiply, and no worker processes.

Order and augmentation are counted: what sample i looks like in epoch e is a function of (seed, e, i), so a batch of the
world holds the same images however many ranks share it, and a resume at any step needs no history.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch.nn import functional

from bench.counter import below, draw, permutation
from bench.data import Dataset, ImageSet

ORDER, CROP_Y, CROP_X, MIRROR = range(4)  # what a draw is for: the first key behind seed and epoch
UPLOAD_LIMIT = 4 * 2**30  # bytes of a stored set that may lie on a GPU beside the model
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision turn colour into grey


class Batch(NamedTuple):
    """Images (B, C, S, S) float32, normalised; labels (B,) int64.

    Under mixup and cutmix `mixed` holds the other labels (B,) and the weight (B,) float32 of `labels` against them.
    """

    images: torch.Tensor
    labels: torch.Tensor
    mixed: tuple[torch.Tensor, torch.Tensor] | None = None


class Pixels:
    """A stored set as windows that can be gathered: from the mapped file, or from a copy on the device.

    A set that is gathered often goes to a GPU once, if it isn't larger than UPLOAD_LIMIT.
    """

    def __init__(self, images: ImageSet, size: int, device: torch.device, *, often: bool) -> None:
        self.size = size
        self.device = device
        self.moves = images.images.shape[1] - size + 1
        self.windows = _windows(images.images, size)
        upload = often and device.type != "cpu" and images.images.nbytes <= UPLOAD_LIMIT
        self.uploaded = torch.from_numpy(images.images).to(device) if upload else None

    def gather(
        self, rows: NDArray[np.int64], dy: NDArray[np.int64], dx: NDArray[np.int64], mirror: NDArray[np.bool_]
    ) -> torch.Tensor:
        """Take one window of each row: (B, S, S, C) uint8 on the device, mirrored where `mirror` (B,) says so."""
        if self.uploaded is not None:
            return self._gather_there(self.uploaded, rows, dy, dx, mirror)
        batch = self.windows[rows, dy, dx]
        turned = np.flatnonzero(mirror)
        if len(turned):
            batch[turned] = torch.from_numpy(batch[turned]).flip(2).numpy()
        return torch.from_numpy(batch).to(self.device)

    def _gather_there(
        self,
        stored: torch.Tensor,
        rows: NDArray[np.int64],
        dy: NDArray[np.int64],
        dx: NDArray[np.int64],
        mirror: NDArray[np.bool_],
    ) -> torch.Tensor:
        """Do the same in torch. The tests run it on the CPU; it wasn't run on a GPU."""
        n, _, _, channels = stored.shape
        strides = stored.stride()
        view = stored.as_strided(
            (n, self.moves, self.moves, self.size, self.size, channels), (*strides[:3], *strides[1:])
        )
        row, down, across = torch.from_numpy(np.stack([rows, dy, dx])).to(self.device)
        batch = view[row, down, across]
        turned = torch.from_numpy(mirror).to(self.device)
        return torch.where(turned[:, None, None, None], batch.flip(2), batch)


def _windows(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """View all windows of a padded set (N, P, P, C) as (N, P - S + 1, P - S + 1, S, S, C), without a copy."""
    n, padded, _, channels = images.shape
    moves = padded - size + 1
    by_image, by_row, by_column, by_channel = images.strides
    return as_strided(
        images,
        (n, moves, moves, size, size, channels),
        (by_image, by_row, by_column, by_row, by_column, by_channel),
        writeable=False,
    )


class Finish:
    """Turns gathered uint8 windows into what a model takes: scaled, normalised, its channels, size and layout."""

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        in_channels: int,
        image_size: int | None,
        channels_last: bool,
        device: torch.device,
    ) -> None:
        if channels != in_channels and 1 not in (channels, in_channels):
            raise ValueError(f"images of {channels} channels can't be turned into {in_channels}: allowed are 1 and 3")
        channels = max(channels, in_channels)  # grey is spread before normalising, colour made grey behind it
        if len(mean) != len(std) or len(mean) not in (1, channels):
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} don't fit images of {channels} channels")
        self.image_size = image_size if image_size != size else None
        self.channels, self.in_channels = channels, in_channels
        self.channels_last = channels_last
        # One long row a line of pixels: a multiply along 3 channels would be five times as slow.
        per_channel = torch.tensor([mean, std], dtype=torch.float64).expand(2, channels)
        self.scale = (1 / (255 * per_channel[1])).float().repeat(size * size).to(device)
        self.shift = (-per_channel[0] / per_channel[1]).float().repeat(size * size).to(device)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Finish (B, S, S, C) uint8: (B, in_channels, image_size, image_size) float32, channels-last if asked."""
        pixels = pixels.expand(*pixels.shape[:3], self.channels)
        flat = pixels.flatten(1).float()
        torch.addcmul(self.shift, flat, self.scale, out=flat)
        images = flat.view(pixels.shape).permute(0, 3, 1, 2)
        if self.in_channels < self.channels:
            weights = torch.tensor(LUMINANCE, device=images.device)
            images = (images * weights[:, None, None]).sum(1, keepdim=True)
        if self.image_size:
            images = functional.interpolate(images, self.image_size, mode="bilinear", antialias=True)
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)


class Loader:
    """The training batches of one rank.

    `batch_size` is the world's; rank `data_rank` of `data_size` gets its part of every batch. `mean` and `std` are of
    the set's channels, on the scale 0 to 1. ValueError if the world doesn't divide the batch or the set has too few
    images for one.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        channels_last: bool,
        device: torch.device,
        mean: Sequence[float],
        std: Sequence[float],
        data_rank: int = 0,
        data_size: int = 1,
        image_size: int | None = None,
        augment: tuple[str, ...] = ("crop", "mirror"),
        in_channels: int = 3,
    ) -> None:
        if batch_size < 1 or batch_size % data_size:
            raise ValueError(f"a batch of {batch_size} can't be shared by {data_size} ranks: take a multiple of it")
        self.rows = dataset.train_indices
        self.steps_per_epoch = len(self.rows) // batch_size
        if not self.steps_per_epoch:
            raise ValueError(f"a batch of {batch_size} is more than the {len(self.rows)} training images")
        self.labels = dataset.train.labels
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.local_size = batch_size // data_size
        self.first = data_rank * self.local_size
        self.device = device
        self.margin = dataset.margin
        self.pixels = Pixels(dataset.train, dataset.size, device, often=True)
        self.finish = Finish(
            size=dataset.size,
            channels=dataset.train.images.shape[-1],
            mean=mean,
            std=std,
            in_channels=in_channels,
            image_size=image_size,
            channels_last=channels_last,
            device=device,
        )

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Give this rank's batches of the steps `start` to `steps_per_epoch` - 1 of an epoch."""
        order = self.rows[permutation(len(self.rows), self.seed, epoch, ORDER)]
        dy, dx, mirror = self.draws(epoch)
        for step in range(start, self.steps_per_epoch):
            begin = step * self.batch_size + self.first
            rows = order[begin : begin + self.local_size]
            pixels = self.pixels.gather(rows, dy[rows], dx[rows], mirror[rows])
            yield Batch(self.finish(pixels), torch.from_numpy(self.labels[rows]).to(self.device))

    def draws(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Draw the epoch's window (dy, dx) and mirror of every stored training image, whichever rank will see it."""
        n = len(self.labels)
        every = np.arange(n)
        moves = self.pixels.moves
        centre = np.full(n, self.margin)
        dy, dx, mirror = centre, centre, np.zeros(n, bool)
        if "crop" in self.augment:
            dy = below(draw(self.seed, epoch, CROP_Y, every), moves)
            dx = below(draw(self.seed, epoch, CROP_X, every), moves)
        if "mirror" in self.augment:
            mirror = below(draw(self.seed, epoch, MIRROR, every), 2).astype(bool)
        return dy, dx, mirror


def evaluation_batches(
    images: ImageSet,
    indices: NDArray[np.int64] | None,
    *,
    dataset: Dataset,
    batch_size: int,
    channels_last: bool,
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
    data_rank: int = 0,
    data_size: int = 1,
    image_size: int | None = None,
    in_channels: int = 3,
) -> Iterator[Batch]:
    """Give this rank's share of a set (or of its rows `indices`) in batches of `batch_size` images of this rank.

    The shares are contiguous and disjoint and make up the whole set; nothing is padded. The centre window is taken.
    """
    every = np.arange(len(images.labels)) if indices is None else indices
    share = every[len(every) * data_rank // data_size : len(every) * (data_rank + 1) // data_size]
    pixels = Pixels(images, dataset.size, device, often=False)
    finish = Finish(
        size=dataset.size,
        channels=images.images.shape[-1],
        mean=mean,
        std=std,
        in_channels=in_channels,
        image_size=image_size,
        channels_last=channels_last,
        device=device,
    )
    for start in range(0, len(share), batch_size):
        rows = share[start : start + batch_size]
        centre = np.full(len(rows), dataset.margin)
        batch = finish(pixels.gather(rows, centre, centre, np.zeros(len(rows), bool)))
        yield Batch(batch, torch.from_numpy(images.labels[rows]).to(device))
