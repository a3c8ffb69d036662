"""Data sets: found, decoded once, put in canonical order, split, and mapped into memory.

No torch unless it decodes. Canonical order is as good as random, so that the first tenth of a class
is a fixed random tenth on every machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Facts, Say, open_cached
from bench.data.download import fetch_archive
from bench.data.folder import TIMEOUT, Folder, FolderImages, find_folder
from bench.data.folder_build import build_folder
from bench.data.set_build import build_set, expected_checksums
from bench.data.source import ARCHIVES, Source, explain_missing, find_source, list_roots
from bench.results.look import DataLook
from zoo.suggest import unknown

Protocol = Literal["split", "published"]
Split = Literal["train", "validation", "test"]
DATASETS = ("auto", *ARCHIVES, "imagefolder", "synthetic")
EMBEDDED = Source("synthetic", "embedded", Path("/"))
VALIDATION_SHARE = 10  # one in ten images of each class


@dataclass(frozen=True)
class ImageSet:
    """One stored set in canonical order, memory-mapped: what is read stays in the page cache.

    `images` are (N, size + 2 margin, size + 2 margin, C) uint8; the centre window is the image.
    `labels` are (N,). Of a folder that is decoded as it goes, `images` decodes the rows that it is
    asked for. `rows` are those of the whole set, or of the folder's list, if some aren't here.
    """

    images: NDArray[np.uint8] | FolderImages
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set with its split.

    `mean` and `std` are of the whole training set's pixels, on the scale 0 to 1 (`std` is 1 for a
    channel that never changes). `checksum` covers
    the pixels and labels of both sets in canonical order. `train_indices` and `validation_indices`
    point into `train`; under the protocol `published` the first are all and the second none.
    `test_indices` point into `test`: None is all of it.
    """

    name: str
    stand_in: bool
    source: str
    checksum: str
    size: int
    margin: int
    train: ImageSet
    test: ImageSet
    train_indices: NDArray[np.int64]
    validation_indices: NDArray[np.int64]
    protocol: Protocol
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    superclass_of: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    look: DataLook | None = None  # what shows the same as what, by the rows of this set
    test_indices: NDArray[np.int64] | None = None

    def rows_of(self, split: Split) -> tuple[ImageSet, NDArray[np.int64]]:
        """Return the set that a split's images are stored in, and their rows there."""
        if split == "train":
            return self.train, self.train_indices
        if split == "validation":
            return self.train, self.validation_indices
        if self.test_indices is None:
            return self.test, np.arange(len(self.test.labels))
        return self.test, self.test_indices

    @property
    def short_side(self) -> int:
        """Return to how many pixels a picture's short side is resized to become such an image."""
        # The margin of a folder's images is picture, that of other sets a border of zeros.
        return self.size + (2 * self.margin if self.name == "imagefolder" else 0)


def say_nothing(line: str) -> None:
    """Drop a line that would be said."""


def check_dataset(
    name: str,
    data_dir: Path | None,
    *,
    image_size: int | None = None,
    workers: int | None = None,
    say: Say = say_nothing,
) -> None:
    """Check that a data set can be opened, without decoding it.

    One that is named but isn't there is fetched if no folder was given, as `auto` is when it is
    opened. ValueError says where a named one was looked for.
    """
    if name not in DATASETS:
        raise ValueError(unknown("--dataset", name, DATASETS))
    if workers and name != "imagefolder":
        raise ValueError(
            f"--workers {workers}: {name} is decoded once into the cache; "
            "workers decode an imagefolder"
        )
    if name == "auto":
        list_roots(data_dir)
    elif name == "imagefolder":
        find_folder(data_dir, image_size, say_nothing, num_workers=workers)
    elif name != "synthetic":
        _find_or_fetch(name, data_dir, say)


def open_dataset(
    name: str,
    data_dir: Path | None,
    *,
    protocol: Protocol = "split",
    image_size: int | None = None,
    skip_unreadable: bool = False,
    whole: bool = False,
    workers: int | None = None,
    timeout: float = TIMEOUT,
    say: Say = say_nothing,
) -> Dataset:
    """Open a data set by name, decoding it into the cache if this is its first time.

    `auto` is CIFAR-100 where it is found or can be downloaded, else the stand-in `synthetic`, which
    is said. `image_size` (224), `skip_unreadable`, `whole` (a folder without a test set isn't cut)
    and `workers` are for image folders alone; the last is how many processes decode the images
    whenever they are read, instead of once into the cache, and `timeout` how many seconds their
    batches, and other processes, are waited for.
    ValueError, one line, for everything that a user can put right.
    """
    if name == "imagefolder":
        source: Source | Folder = find_folder(
            data_dir,
            image_size,
            say,
            skip_unreadable=skip_unreadable,
            whole=whole,
            num_workers=workers,
            timeout=timeout,
        )
    else:
        source = _choose_source(name, data_dir, say)

    def build(aside: Path) -> Facts:
        if isinstance(source, Folder):
            return build_folder(source, aside, say)
        return build_set(source, aside, say)

    folder, facts = open_cached(
        source.name,
        source.identity,
        stamp=f"{source.stamp} {expected_checksums(source.name)}",
        build=build,
        say=say,
        timeout=timeout,
    )
    found = _map_dataset(source, folder, facts, protocol)
    _check_validation(found, say)
    for channel, deviation in enumerate(facts["std"]):
        if not deviation:
            say(f"{found.name}: channel {channel} is the same in all pixels; it isn't scaled")
    return found


def _check_validation(dataset: Dataset, say: Say) -> None:
    """Refuse a set of which validation gets nothing, and say which classes it lacks."""
    if dataset.protocol != "split":
        return
    num_classes = len(dataset.class_names)
    num_held = len(set(dataset.train.labels[dataset.validation_indices].tolist()))
    if not num_held:
        raise ValueError(
            f"{dataset.name}: every class has one training image, so that none is left for "
            "validation; add images, or give --protocol published"
        )
    if num_held < num_classes:
        have = "class has" if num_classes - num_held == 1 else "classes have"
        say(f"{dataset.name}: {num_classes - num_held} {have} no validation image")


def _choose_source(name: str, data_dir: Path | None, say: Say) -> Source:
    if name == "synthetic":
        return EMBEDDED
    if name != "auto":
        check_dataset(name, data_dir, say=say)
        return _find_or_fetch(name, data_dir, say)
    found = find_source("cifar100", data_dir)
    if found is None:
        say(f"CIFAR-100 is not in {', '.join(str(root) for root in list_roots(data_dir))}")
        found = fetch_archive("cifar100", say)
    if found is None:
        say("using the embedded stand-in `synthetic`: its figures say nothing about real images")
        return EMBEDDED
    return found


def _find_or_fetch(name: str, data_dir: Path | None, say: Say) -> Source:
    found = find_source(name, data_dir)
    # A folder that was named is not filled for the user.
    if found is None and data_dir is None:
        found = fetch_archive(name, say)
    if found is None:
        raise ValueError(explain_missing(name, data_dir))
    return found


def _map_dataset(
    source: Source | Folder, folder: Path, facts: Facts, protocol: Protocol
) -> Dataset:
    train = _map_set(source, folder, "train")
    rows = np.arange(len(train.labels))
    held_out = np.zeros(0, np.int64)
    if protocol == "split":
        rows, held_out = split(train.labels)
    num_skipped = facts.get("num_skipped", 0)
    skipped = f", {num_skipped} unreadable images left out" if num_skipped else ""
    return Dataset(
        name=source.name,
        stand_in=source.kind == "embedded",
        source=source.kind + skipped,
        checksum=facts["checksum"],
        size=facts["size"],
        margin=facts["margin"],
        train=train,
        test=_map_set(source, folder, "test"),
        train_indices=rows,
        validation_indices=held_out,
        protocol=protocol,
        class_names=tuple(facts["class_names"]),
        superclass_names=tuple(facts["superclass_names"]),
        superclass_of=tuple(facts["superclass_of"]),
        mean=tuple(facts["mean"]),
        # A channel that never changes has nothing to be divided by.
        std=tuple(deviation or 1.0 for deviation in facts["std"]),
    )


def _map_set(source: Source | Folder, folder: Path, part: Literal["train", "test"]) -> ImageSet:
    labels = np.load(folder / f"{part}_labels.npy")
    rows = np.load(folder / f"{part}_rows.npy") if isinstance(source, Folder) else None
    if isinstance(source, Folder) and source.num_workers:
        assert rows is not None, "a folder's rows are kept"
        return ImageSet(FolderImages(source, part, rows), labels, rows)
    # Copy-on-write, although nobody writes: torch warns about arrays that it may not write to.
    return ImageSet(np.load(folder / f"{part}_images.npy", mmap_mode="c"), labels, rows)


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the validation set: the first tenth of each class in canonical order.

    At least one image of two or more. Returns the rows that are left and the rows cut off, both
    ascending.
    """
    held_out = np.zeros(len(labels), bool)
    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        least = 1 if len(rows) > 1 else 0
        held_out[rows[: max(len(rows) // VALIDATION_SHARE, least)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def class_counts(dataset: Dataset) -> NDArray[np.int64]:
    """Count the training images of each class."""
    labels = dataset.train.labels[dataset.train_indices]
    return np.bincount(labels, minlength=len(dataset.class_names))


def describe_classes(dataset: Dataset) -> str:
    """Say how many training images the classes have: `450 to 500 of a class (1.11 to 1)`."""
    counts = class_counts(dataset)
    low, high = int(counts.min()), int(counts.max())
    if low == high:
        return f"{high:,} of each class"
    return f"{low:,} to {high:,} of a class ({high / max(1, low):.2f} to 1)"


def class_weights(dataset: Dataset) -> NDArray[np.float32]:
    """Weigh classes for the loss so that each counts the same in sum.

    N / (number of classes * images of the class).
    """
    # A class without training images has no weight to get: 1 only avoids the division by zero.
    counts = np.maximum(class_counts(dataset), 1)
    return np.asarray(counts.sum() / (len(counts) * counts), np.float32)
