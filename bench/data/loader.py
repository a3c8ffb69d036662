"""Whole batches, not images: one gather from the padded uint8 set and one multiply.

No worker processes: at 32 px a process switch costs more than the batch. Order and augmentation
are counted: what sample i looks like in epoch e is a function of (seed, e, i), so that a global
batch holds the same images however many ranks share it, and a resume at any step needs no history.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.augment import (
    augment_images,
    augment_pixels,
    draw_colour_noise,
    find_colour_axes,
    mix_images,
    resize_boxes,
)
from bench.data.dataset import Dataset, ImageSet
from bench.data.folder import FolderImages
from bench.data.pixels import Cut, Finish, ModelInput, Pixels
from bench.data.sampling import Draws, Purpose, Samples
from bench.data.stream import Stream

View = tuple[int, int, bool]  # the place (dy, dx) of a window, and whether it is mirrored


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

    `batch_size` is the global one; rank `data_rank` of `data_size` gets its part of every batch.
    `augment` names AUGMENTATIONS, done in that tuple's order; `balanced` draws each class equally
    often. ValueError if the ranks don't divide the batch or the set has too few images for one.
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
        if batch_size < 1 or batch_size % data_size:
            raise ValueError(
                f"a batch of {batch_size} can't be shared by {data_size} ranks: "
                "take a multiple of it"
            )
        self.rows = dataset.train_indices
        self.steps_per_epoch = len(self.rows) // batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                f"a batch of {batch_size} is more than the {len(self.rows)} training images"
            )
        self.labels = dataset.train.labels
        self.seed = seed
        self.augment = augment
        self.balanced = balanced
        self.batch_size = batch_size
        self.local_size = batch_size // data_size
        self.first = data_rank * self.local_size
        self.device = taken.device
        self.margin = dataset.margin
        self.mixes = "mixup" in augment or "cutmix" in augment
        self.axes = None
        if "pca" in augment:
            stored = dataset.train.images
            assert isinstance(stored, np.ndarray), "the request was checked: pca needs a stored set"
            inner = slice(dataset.margin, dataset.margin + dataset.size)
            self.axes = find_colour_axes(stored[:, inner, inner], self.rows)
        # A resized box is of the whole stored square, another window is cut out while it is read.
        self.size, self.side = dataset.size, dataset.size + 2 * dataset.margin
        window = self.side if "resized" in augment else self.size
        self.pixels = open_pixels(dataset.train, window, taken.device, often=True)
        channels = dataset.train.images.shape[-1]
        self.finish = Finish(taken, size=dataset.size, channels=channels)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Give this rank's batches of the steps `start` to `steps_per_epoch` - 1 of an epoch."""
        draws = Draws(self.seed, epoch)
        order = self._draw_order(draws)
        parts = []
        for step in range(start, self.steps_per_epoch):
            begin = step * self.batch_size + self.first
            parts.append(slice(begin, begin + self.local_size))
        # Partners come from where images come from: by class, in an epoch that is drawn by class.
        pool = order if self.balanced else self.rows
        pixels = self.pixels.take(self._cut_parts(draws, order, pool, parts))
        return (self._make_batch(draws, order[part], pool, pixels) for part in parts)

    def _draw_order(self, draws: Draws) -> Samples:
        if self.balanced:
            return draws.balanced_order(self.rows, self.labels)
        return draws.order(self.rows)

    def _cut_parts(
        self, draws: Draws, order: Samples, pool: Samples, parts: Sequence[slice]
    ) -> Iterator[Cut]:
        """Give the cuts of these parts of an epoch, the cut of its partners behind each."""
        # Drawn for the whole epoch at once: numpy's own overhead is paid once, not at every step.
        rows, dy, dx, mirror = self.cut(draws, order)
        for part in parts:
            yield Cut(rows[part], dy[part], dx[part], mirror[part])
            if self.mixes:
                yield self.cut(draws, _draw_partners(draws, order[part], pool))

    def cut(self, draws: Draws, samples: Samples) -> Cut:
        """Draw each sample's window (dy, dx) and whether it is mirrored.

        The centre as it is where the augmentation isn't named.
        """
        dy = dx = np.full(len(samples), 0 if "resized" in self.augment else self.margin)
        if "crop" in self.augment:
            dy, dx = draws.windows(samples, 2 * self.margin + 1)
        mirror = np.zeros(len(samples), bool)
        if "mirror" in self.augment:
            mirror = draws.mirrored(samples)
        return Cut(samples % len(self.labels), dy, dx, mirror)

    def _make_batch(
        self, draws: Draws, samples: Samples, pool: Samples, pixels: Iterator[torch.Tensor]
    ) -> Batch:
        images = self._finish_images(draws, samples, next(pixels))
        labels = self._labels_of(samples)
        if not self.mixes:
            return Batch(images, labels)
        partners = _draw_partners(draws, samples, pool)
        others = self._finish_images(draws, partners, next(pixels))
        images, weight = mix_images(images, others, self.augment, draws, samples)
        return Batch(images, labels, (self._labels_of(partners), weight))

    def _labels_of(self, samples: Samples) -> torch.Tensor:
        rows = samples % len(self.labels)
        return torch.from_numpy(self.labels[rows]).to(self.device)

    def _finish_images(self, draws: Draws, samples: Samples, pixels: torch.Tensor) -> torch.Tensor:
        """Augment and finish what was cut out: all that is done to each image alone."""
        if "resized" in self.augment:
            pixels = resize_boxes(pixels, draws.resized_boxes(samples, self.side), self.size)
        if "trivial" in self.augment or "rotation" in self.augment:
            pixels = augment_pixels(pixels, self.augment, draws, samples)
        colour = None if self.axes is None else draw_colour_noise(self.axes, draws, samples)
        return augment_images(self.finish(pixels, colour), self.augment, draws, samples)


def _draw_partners(draws: Draws, samples: Samples, pool: Samples) -> Samples:
    """Draw the sample of `pool` that each sample is mixed with."""
    return pool[draws.integers(Purpose.PARTNER, samples, len(pool))]


def find_share(num_images: int, data_rank: int, data_size: int) -> slice:
    """Return which of so many images a rank evaluates: shares are contiguous and leave none out."""
    bounds = (num_images * rank // data_size for rank in (data_rank, data_rank + 1))
    return slice(*bounds)


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
    """Give this rank's share of a set (or of its rows `indices`) in batches of `batch_size` images.

    The shares are contiguous and disjoint and make up the whole set; nothing is padded. The centre
    window is taken; with 10 `crops` the centre and the four corners, each mirrored too (Krizhevsky
    et al. 2012, section 4.1): `images` are (10 B, C, S, S), all images' first view first, and
    `labels` (B,).
    """
    every = np.arange(len(images.labels)) if indices is None else indices
    share = every[find_share(len(every), data_rank, data_size)]
    parts = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    views = ten_views(dataset.margin)
    if crops == 1:
        views = views[:1]
    pixels = open_pixels(images, dataset.size, taken.device, often=False)
    finish = Finish(taken, size=dataset.size, channels=images.images.shape[-1])
    batches = pixels.take(_cut_views(rows, views) for rows in parts)
    for rows, batch in zip(parts, batches, strict=True):
        labels = torch.from_numpy(images.labels[rows]).to(taken.device)
        yield Batch(finish(batch), labels)


def _cut_views(rows: NDArray[np.int64], views: Sequence[View]) -> Cut:
    """Cut the first view of each row's image, then the second, and so on."""
    dy, dx, mirrored = zip(*views, strict=True)
    n = len(rows)
    places = np.repeat(dy, n), np.repeat(dx, n)
    return Cut(np.tile(rows, len(views)), *places, np.repeat(mirrored, n))


def ten_views(margin: int) -> list[View]:
    """List the ten crops of an image with a margin: centre and corners, then the same mirrored."""
    last = 2 * margin
    places = [(margin, margin), (0, 0), (0, last), (last, 0), (last, last)]
    upright = [(dy, dx, False) for dy, dx in places]
    return upright + [(dy, dx, True) for dy, dx in places]


def open_pixels(
    images: ImageSet, size: int, device: torch.device, *, often: bool
) -> Pixels | Stream:
    """Open a stored set, or one that is decoded as it goes, to take windows of `size` px from."""
    if isinstance(images.images, FolderImages):
        return Stream(images.images, size, device)
    return Pixels(images.images, size, device, often=often)
