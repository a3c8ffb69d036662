"""A part of a data set: some classes, fewer training images, or a long tail of them. No torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.request.config import RunConfig
from zoo.suggest import unknown

if TYPE_CHECKING:
    from bench.data.dataset import Dataset, ImageSet


def take_subset(data: "Dataset", config: RunConfig) -> "Dataset":
    """Return what a request takes of a data set; validation and test stay whole but for `classes`.

    ValueError for a class that isn't there, and for fewer than two.
    """
    if config.classes:
        data = take_classes(data, config.classes)
    labels = data.train.labels[data.train_indices]
    counts = np.bincount(labels, minlength=len(data.class_names))
    if config.images_per_class is not None:
        counts = np.minimum(counts, config.images_per_class)
    if config.imbalance is not None:
        counts = cut_tail(counts, config.imbalance)
    return replace(data, train_indices=data.train_indices[take_first(labels, counts)])


def take_classes(data: "Dataset", names: Sequence[str]) -> "Dataset":
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


def _take(images: "ImageSet", number_of: NDArray[np.int64]) -> tuple["ImageSet", NDArray[np.bool_]]:
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
