"""What of a data set a run or a cell sees: classes, a fold, fewer images, a long tail. No torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Dataset, ImageSet, split
from bench.data.sampling import Purpose, permute
from bench.request.config import RunConfig
from bench.results.record import CellKey
from zoo.suggest import unknown


def take_part(data: Dataset, key: CellKey, config: RunConfig) -> Dataset:
    """Return what a cell sees of its run's data; validation stays whole but for a fold.

    Fewer images of each class are drawn anew for each seed and fold.
    """
    if key.fold is not None:
        assert config.folds is not None, "only a request with folds has such cells"
        data = take_fold(data, key.fold, config.folds)
    rows = data.train_indices
    if key.images_per_class is not None:
        rows = rows[permute(len(rows), key.seed, key.fold or 0, Purpose.OF_CLASS)]
    labels = data.train.labels[rows]
    counts = np.bincount(labels, minlength=len(data.class_names))
    if key.images_per_class is not None:
        counts = np.minimum(counts, key.images_per_class)
    if config.imbalance is not None:
        counts = cut_tail(counts, config.imbalance)
    return replace(data, train_indices=np.sort(rows[take_first(labels, counts)]))


def take_parts(data: Dataset, config: RunConfig) -> list[Dataset]:
    """Return a run's data as its cells see it, once for each fold and number of images."""
    # Which images, but not how many, depends on the seed.
    keys = {(key.fold, key.images_per_class): key for key in config.cell_keys}
    return [take_part(data, key, config) for key in keys.values()]


def take_fold(data: Dataset, fold: int, num_folds: int) -> Dataset:
    """Return a data set whose test set is one of K folds of its training set.

    The others are cut into training and validation as a whole set is.
    """
    labels = data.train.labels
    is_tested = deal_folds(labels, num_folds) == fold
    others = np.flatnonzero(~is_tested)
    kept, held_out = split(labels[others])
    return replace(
        data,
        test=data.train,
        test_indices=np.flatnonzero(is_tested),
        train_indices=others[kept],
        validation_indices=others[held_out],
    )


def deal_folds(labels: NDArray[np.int64], num_folds: int) -> NDArray[np.int64]:
    """Return each image's fold, from 1 to `num_folds`, (N,).

    Dealt in turn, class after class, in canonical order, which is as good as random: the folds
    differ by one image at most, of each class and of all together.
    """
    order = np.argsort(labels, kind="stable")
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % num_folds + 1
    return folds


def take_classes(data: Dataset, names: Sequence[str]) -> Dataset:
    """Return the images of these classes alone, which are numbered in the order of the names.

    The checksum is of the whole set's and the names. There are no superclasses: those of a part of
    the classes would say something else.
    """
    for name in names:
        if name not in data.class_names:
            raise ValueError(unknown("--classes", name, data.class_names))
    if len(names) < 2:
        raise ValueError(f"--classes {names[0]}: one class alone, two are the least")
    number_of = np.full(len(data.class_names), -1)
    number_of[[data.class_names.index(name) for name in names]] = np.arange(len(names))
    train, kept = _take(data.train, number_of)
    test, _ = _take(data.test, number_of)
    new_place = np.cumsum(kept) - 1  # of a kept image among the kept ones
    return replace(
        data,
        checksum=hashlib.sha256("\n".join((data.checksum, *names)).encode()).hexdigest(),
        train=train,
        test=test,
        train_indices=new_place[data.train_indices[kept[data.train_indices]]],
        validation_indices=new_place[data.validation_indices[kept[data.validation_indices]]],
        class_names=tuple(names),
        superclass_names=(),
        superclass_of=(),
    )


def _take(images: ImageSet, number_of: NDArray[np.int64]) -> tuple[ImageSet, NDArray[np.bool_]]:
    """Return the images whose class has a number, with it as their label, and which they are."""
    numbers = number_of[images.labels]
    kept = numbers >= 0
    rows = np.flatnonzero(kept) if images.rows is None else images.rows[kept]
    named = replace(images, labels=numbers[kept], rows=rows)
    pixels = images.images
    if isinstance(pixels, np.ndarray):
        return replace(named, images=pixels[kept]), kept
    # A folder that is decoded as it goes: its files are named, not read.
    return replace(named, images=pixels.take_rows(np.flatnonzero(kept))), kept


def take_first(
    labels: NDArray[np.int64], counts: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the places of the first `counts[k]` of each class k, ascending.

    Canonical order is as good as random, so that a smaller part is one of every larger part.
    """
    places = [np.flatnonzero(labels == label)[:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(places))


def cut_tail(counts: NDArray[np.int64], ratio: float) -> NDArray[np.int64]:
    """Return how many images of each class a long tail keeps: all of the first, at least one.

    Of class k of K a share of ratio^(-k / (K - 1)) is left, so that the first has `ratio` times as
    many as the last (Cui et al. 2019, section 5.1).
    """
    shares = ratio ** -np.linspace(0, 1, len(counts))
    return np.maximum(np.round(counts * shares).astype(np.int64), np.minimum(counts, 1))
