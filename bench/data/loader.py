"""Whole batches, not images: one gather from the padded uint8 set, one multiply, and no worker processes.

Order and augmentation are counted: what sample i looks like in epoch e is a function of (seed, e,
i), so a batch of the world holds the same images however many ranks share it, and a resume at any
step needs no history.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.augment import (
    augment_images,
    augment_pixels,
    check_augmentations,
    colour_axes,
    colour_noise,
    mix,
)
from bench.data.dataset import Dataset, ImageSet
from bench.data.folder import FolderImages
from bench.data.pixels import Cut, Finish, ModelInput, Pixels, Stream
from bench.data.sampling import Draws, Purpose, Samples


class Batch(NamedTuple):
    """Images (B, C, S, S) float32, normalised; labels (B,) int64.

    Under mixup and cutmix `mixed` holds the partners' labels (B,) and the weight (B,) float32 of
    `labels` against them: the loss is weight * loss(labels) + (1 - weight) * loss(partners'
    labels), image by image.
    """

    images: torch.Tensor
    labels: torch.Tensor
    mixed: tuple[torch.Tensor, torch.Tensor] | None = None


class Loader:
    """The training batches of one rank.

    `batch_size` is the world's; rank `data_rank` of `data_size` gets its part of every batch.
    `augment` names AUGMENTATIONS, done in that tuple's order; `balanced` draws each class equally
    often. ValueError if the world doesn't divide the batch or the set has too few images for one.
    """

    def __init__(
        self,
        dataset: Dataset,
        taken: ModelInput,
        *,
        batch_size: int,
        seed: int,
        data_rank: int = 0,
        data_size: int = 1,
        augment: tuple[str, ...] = ("crop", "mirror"),
        balanced: bool = False,
    ) -> None:
        check_augmentations(augment)
        if batch_size < 1 or batch_size % data_size:
            raise ValueError(
                f"a batch of {batch_size} can't be shared by {data_size} ranks: take a multiple of it"
            )
        self.rows = dataset.train_indices
        self.steps_per_epoch = len(self.rows) // batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                f"a batch of {batch_size} is more than the {len(self.rows)} training images"
            )
        self.labels = dataset.train.labels
        self.batch_size, self.seed, self.augment, self.balanced = (
            batch_size,
            seed,
            augment,
            balanced,
        )
        self.local_size = batch_size // data_size
        self.first = data_rank * self.local_size
        self.device = taken.device
        self.margin, self.moves = dataset.margin, 2 * dataset.margin + 1
        self.mixes = not {"mixup", "cutmix"}.isdisjoint(augment)
        self.axes = _colour_axes(dataset) if "pca" in augment else None
        self.pixels = open_pixels(dataset.train, dataset.size, taken.device, often=True)
        self.finish = Finish(taken, size=dataset.size, channels=dataset.train.images.shape[-1])

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Give this rank's batches of the steps `start` to `steps_per_epoch` - 1 of an epoch."""
        draws = Draws(self.seed, epoch)
        order = (
            draws.balanced_order(self.rows, self.labels)
            if self.balanced
            else draws.order(self.rows)
        )
        begins = range(
            start * self.batch_size + self.first,
            self.steps_per_epoch * self.batch_size,
            self.batch_size,
        )
        parts = [slice(begin, begin + self.local_size) for begin in begins]
        pixels = self.pixels.take(self._cuts(draws, order, parts))
        return (self._batch(draws, order[part], pixels) for part in parts)

    def _cuts(self, draws: Draws, order: Samples, parts: Sequence[slice]) -> Iterator[Cut]:
        """What is cut out of the stored images for these parts of an epoch, the partners of each behind it."""
        rows, dy, dx, mirror = self.cut(draws, order)
        for part in parts:
            yield Cut(rows[part], dy[part], dx[part], mirror[part])
            if self.mixes:
                yield self.cut(draws, self._partners(draws, order[part]))

    def cut(self, draws: Draws, samples: Samples) -> Cut:
        """Draw each sample's window (dy, dx) and whether it is mirrored.

        The centre as it is where that isn't named.
        """
        n = len(samples)
        dy, dx = (
            draws.windows(samples, self.moves)
            if "crop" in self.augment
            else (np.full(n, self.margin),) * 2
        )
        mirror = draws.mirrored(samples) if "mirror" in self.augment else np.zeros(n, bool)
        return Cut(samples % len(self.labels), dy, dx, mirror)

    def _partners(self, draws: Draws, samples: Samples) -> Samples:
        return self.rows[draws.below(Purpose.PARTNER, samples, len(self.rows))]

    def _batch(self, draws: Draws, samples: Samples, pixels: Iterator[torch.Tensor]) -> Batch:
        images, labels = self._images(draws, samples, next(pixels)), self._labels(samples)
        if not self.mixes:
            return Batch(images, labels)
        partners = self._partners(draws, samples)
        others = self._images(draws, partners, next(pixels))
        images, weight = mix(images, others, self.augment, draws, samples)
        return Batch(images, labels, (self._labels(partners), weight))

    def _labels(self, samples: Samples) -> torch.Tensor:
        return torch.from_numpy(self.labels[samples % len(self.labels)]).to(self.device)

    def _images(self, draws: Draws, samples: Samples, pixels: torch.Tensor) -> torch.Tensor:
        """Augment and finish what was cut out: all that is done to each image alone."""
        if {"trivial", "rotation"} & set(self.augment):
            pixels = augment_pixels(pixels, self.augment, draws, samples)
        colour = None if self.axes is None else colour_noise(self.axes, draws, samples)
        return augment_images(self.finish(pixels, colour), self.augment, draws, samples)


def _colour_axes(dataset: Dataset) -> NDArray[np.float64]:
    assert isinstance(dataset.train.images, np.ndarray), (
        "the request was checked: pca needs a stored set"
    )
    return colour_axes(dataset.train.images, dataset.train_indices)


def evaluation_batches(
    images: ImageSet,
    indices: NDArray[np.int64] | None,
    taken: ModelInput,
    *,
    dataset: Dataset,
    batch_size: int,
    data_rank: int = 0,
    data_size: int = 1,
    crops: int = 1,
) -> Iterator[Batch]:
    """Give this rank's share of a set (or of its rows `indices`) in batches of `batch_size` images of this rank.

    The shares are contiguous and disjoint and make up the whole set; nothing is padded. The centre
    window is taken; with 10 `crops` the centre and the four corners, each mirrored too (Krizhevsky
    et al. 2012, section 4.1): `images` are (10 B, C, S, S), all images' first view first, and
    `labels` (B,).
    """
    every = np.arange(len(images.labels)) if indices is None else indices
    share = every[len(every) * data_rank // data_size : len(every) * (data_rank + 1) // data_size]
    pixels = open_pixels(images, dataset.size, taken.device, often=False)
    finish = Finish(taken, size=dataset.size, channels=images.images.shape[-1])
    views = ten_views(dataset.margin) if crops == 10 else [(dataset.margin, dataset.margin, False)]
    parts = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    for rows, batch in zip(parts, pixels.take(_cuts(rows, views) for rows in parts), strict=True):
        yield Batch(finish(batch), torch.from_numpy(images.labels[rows]).to(taken.device))


def _cuts(rows: NDArray[np.int64], views: Sequence[tuple[int, int, bool]]) -> Cut:
    """The first view of each row's image, then the second, and so on."""
    dy, dx, mirrored = (
        np.repeat(np.asarray(column), len(rows)) for column in zip(*views, strict=True)
    )
    return Cut(np.tile(rows, len(views)), dy, dx, mirrored)


def ten_views(margin: int) -> list[tuple[int, int, bool]]:
    """The place (dy, dx) of each of ten crops in an image with a margin, and whether it is mirrored."""
    last = 2 * margin
    places = [(margin, margin), (0, 0), (0, last), (last, 0), (last, last)]
    return [(dy, dx, mirrored) for mirrored in (False, True) for dy, dx in places]


def open_pixels(
    images: ImageSet, size: int, device: torch.device, *, often: bool
) -> Pixels | Stream:
    """Open a stored set, or one that is decoded as it goes, to take windows of `size` px from."""
    if isinstance(images.images, FolderImages):
        return Stream(images.images, size, device)
    return Pixels(images.images, size, device, often=often)
