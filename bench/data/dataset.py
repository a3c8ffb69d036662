"""Data sets: found, decoded once, put in canonical order, split, and mapped into memory. No torch unless it decodes.

Canonical order is by the sha256 of the pixels, then the label: the same from every source, and as
good as random, so that the first tenth of a class is a fixed random tenth on every machine.
"""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data import source as sources
from bench.data import synthetic
from bench.data.cache import (
    Decoded,
    Facts,
    Say,
    canonical,
    open_cached,
    superclasses,
    tally,
    write_set,
)
from bench.data.folder import Folder, FolderImages, build_folder, find_folder
from bench.data.reader import decode
from bench.data.source import Source

Protocol = Literal["split", "published"]
DATASETS = ("auto", *sources.ARCHIVES, "imagefolder", "synthetic")
MARGIN = 4  # zeros around an image of 32 px: a crop moves by up to 4 px each way
VALIDATION_SHARE = 10  # one in ten images of each class

# What a set adds up to in canonical order, CIFAR-100 computed from a verified copy; `both` holds
# the superclasses too.
CHECKSUMS = {
    ("cifar100", "train"): "dea4d1fd172ff6d3a791532c16c0c253d4b7940e98c226265e55baf2a2753a52",
    ("cifar100", "test"): "8549619d92b50f52ace963e8bcdae37a33af74c703ba8af8d23095ab3549f6f5",
    ("cifar100", "both"): "069f3420ac49f2cc4b5e75d051af5ddc57e04ce137b7d71beaf16efd92093831",
    ("synthetic", "train"): synthetic.CHECKSUM_TRAIN,
    ("synthetic", "test"): synthetic.CHECKSUM_TEST,
}


@dataclass(frozen=True)
class ImageSet:
    """One stored set in canonical order, memory-mapped: read it, and it stays on disk's cached pages.

    `images` are (N, size + 2 margin, size + 2 margin, C) uint8; the centre window is the image.
    `labels` are (N,). Of a folder that is decoded as it goes, `images` decodes the rows that it is
    asked for.
    """

    images: NDArray[np.uint8] | FolderImages
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set with its split. `mean` and `std` are of the whole training set's pixels, on the scale 0 to 1.

    `checksum` covers the pixels and labels of both sets in canonical order. `train_indices` and
    `validation_indices` point into `train`; under the protocol `published` the first are all and
    the second none.
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


def silent(line: str) -> None:
    """Say nothing."""


def check_dataset(
    name: str,
    data_dir: Path | None,
    *,
    image_size: int | None = None,
    workers: int | None = None,
    say: Say = silent,
) -> None:
    """Check that a data set can be opened, without decoding; ValueError says where a named one was looked for.

    One that is named but isn't there is fetched if no folder was given, as `auto` is when it is
    opened.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}{hint}")
    if workers and name != "imagefolder":
        raise ValueError(
            f"--workers {workers}: {name} is decoded once into the cache; workers decode an imagefolder"
        )
    if name == "auto":
        sources.roots(data_dir)
    elif name == "imagefolder":
        find_folder(data_dir, image_size, silent, num_workers=workers)
    elif name != "synthetic":
        _find_or_fetch(name, data_dir, say)


def open_dataset(
    name: str,
    data_dir: Path | None,
    *,
    protocol: Protocol = "split",
    image_size: int | None = None,
    skip_unreadable: bool = False,
    workers: int | None = None,
    say: Say = silent,
) -> Dataset:
    """Open a data set by name, decoding it into the cache if this is its first time.

    `auto` is CIFAR-100 where it is found or can be downloaded, else the stand-in `synthetic`, which
    is said. `image_size` (224), `skip_unreadable` and `workers` are for image folders alone; the
    last is how many processes decode the images whenever they are read, instead of once into the
    cache. ValueError, one line, for everything that a user can put right.
    """
    if name == "imagefolder":
        source: Source | Folder = find_folder(
            data_dir, image_size, say, skip_unreadable=skip_unreadable, num_workers=workers
        )
    else:
        source = _choose(name, data_dir, say)
    stamp = f"{source.stamp} {_expected(source.name)}"
    folder, facts = open_cached(
        source.name,
        source.identity,
        stamp=stamp,
        build=lambda aside: _build(source, aside, say),
        say=say,
    )
    return _dataset(source, folder, facts, protocol)


def _choose(name: str, data_dir: Path | None, say: Say) -> Source:
    if name == "auto":
        return sources.find("cifar100", data_dir) or _fetch_or_embedded(data_dir, say)
    if name == "synthetic":
        return EMBEDDED
    check_dataset(name, data_dir, say=say)
    return _find_or_fetch(name, data_dir, say)


def _find_or_fetch(name: str, data_dir: Path | None, say: Say) -> Source:
    found = sources.find(name, data_dir) or (sources.fetch(name, say) if data_dir is None else None)
    if not found:
        raise sources.missing(name, data_dir)
    return found


def _fetch_or_embedded(data_dir: Path | None, say: Say) -> Source:
    say(f"CIFAR-100 is not in {', '.join(str(root) for root in sources.roots(data_dir))}")
    fetched = sources.fetch("cifar100", say)
    if not fetched:
        say("using the embedded stand-in `synthetic`: its figures say nothing about real images")
    return fetched or EMBEDDED


EMBEDDED = Source("synthetic", "embedded", Path("/"))


def _build(source: Source | Folder, folder: Path, say: Say) -> Facts:
    """Decode, order, check and write a set; returns what the cache keeps about it."""
    if isinstance(source, Folder):
        say(
            f"decoding {source.name} once, {'to check and count it' if source.num_workers else 'into the cache'}"
        )
        return build_folder(source, folder, say)
    say(f"decoding {source.name} ({source.kind}) into the cache, once")
    train, test, names = synthetic.draw_stand_in() if source.kind == "embedded" else decode(source)
    sets = {"train": canonical(train), "test": canonical(test)}
    superclass_of = superclasses(sets["train"])
    tallies = {part: tally(one.images) for part, one in sets.items()}
    sums = {part: tallies[part].checksum(one.labels) for part, one in sets.items()}
    sums["both"] = hashlib.sha256(
        f"{sums['train']} {sums['test']} {superclass_of}".encode()
    ).hexdigest()
    _check_sums(source, sums)
    class_names = names.classes or tuple(str(i) for i in range(int(train.labels.max()) + 1))
    _check_labels(source, sets, len(class_names))
    for part, one in sets.items():
        write_set(folder, part, one, MARGIN)
    mean, std = tallies["train"].statistics()
    return {
        "checksum": sums["both"],
        "size": train.images.shape[1],
        "margin": MARGIN,
        "class_names": class_names,
        "superclass_names": names.superclasses or [str(i) for i in range(len(set(superclass_of)))],
        "superclass_of": superclass_of,
        "mean": mean,
        "std": std,
    }


def _expected(name: str) -> dict[str, str]:
    """Look up what the parts of a set must add up to, where that is known."""
    return {part: total for (known, part), total in CHECKSUMS.items() if known == name}


def _check_sums(source: Source, sums: dict[str, str]) -> None:
    files = {"train": source.train, "test": source.test or source.train, "both": source.files}
    for part, found in sums.items():
        expected = _expected(source.name).get(part, found)
        if found != expected:
            names = ", ".join(str(path) for path in files[part]) or source.name
            what = "labels have" if part == "both" else f"{part} images have"
            raise ValueError(
                f"{names}: the {what} checksum {found}, expected {expected}: the data is damaged or altered"
            )


def _check_labels(source: Source, sets: dict[str, Decoded], num_classes: int) -> None:
    for part, one in sets.items():
        if one.labels.min() < 0 or one.labels.max() >= num_classes:
            file = (source.train if part == "train" else source.test or source.train)[0]
            raise ValueError(
                f"{file}: labels from {one.labels.min()} to {one.labels.max()}, but there are {num_classes} classes"
            )


def _mapped(source: Source | Folder, folder: Path, part: Literal["train", "test"]) -> ImageSet:
    """Map a stored set.

    Copy-on-write, which nobody uses: torch warns about arrays that it may not write to.
    """
    labels = np.load(folder / f"{part}_labels.npy")
    if isinstance(source, Folder) and source.num_workers:
        return ImageSet(FolderImages(source, part, np.load(folder / f"{part}_rows.npy")), labels)
    return ImageSet(np.load(folder / f"{part}_images.npy", mmap_mode="c"), labels)


def _dataset(source: Source | Folder, folder: Path, facts: Facts, protocol: Protocol) -> Dataset:
    train = _mapped(source, folder, "train")
    everything, nothing = np.arange(len(train.labels)), np.zeros(0, np.int64)
    rows, held_out = split(train.labels) if protocol == "split" else (everything, nothing)
    skipped = f", {n} unreadable images left out" if (n := facts.get("num_skipped")) else ""
    return Dataset(
        name=source.name,
        stand_in=source.kind == "embedded",
        source=source.kind + skipped,
        checksum=facts["checksum"],
        size=facts["size"],
        margin=facts["margin"],
        train=train,
        test=_mapped(source, folder, "test"),
        train_indices=rows,
        validation_indices=held_out,
        protocol=protocol,
        class_names=tuple(facts["class_names"]),
        superclass_names=tuple(facts["superclass_names"]),
        superclass_of=tuple(facts["superclass_of"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the validation set: the first tenth of each class in canonical order (at least one image of two or more).

    Returns the rows that are left and the rows cut off, both ascending.
    """
    held_out = np.zeros(len(labels), bool)
    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        held_out[rows[: max(len(rows) // VALIDATION_SHARE, int(len(rows) > 1))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def class_counts(dataset: Dataset) -> NDArray[np.int64]:
    """Count the training images of each class."""
    return np.bincount(
        dataset.train.labels[dataset.train_indices], minlength=len(dataset.class_names)
    )


def describe_classes(dataset: Dataset) -> str:
    """Say how many training images the classes have: `450 to 500 of a class (1.11 to 1)`."""
    low, high = int((counts := class_counts(dataset)).min()), int(counts.max())
    return (
        f"{high:,} of each class"
        if low == high
        else f"{low:,} to {high:,} of a class ({high / max(1, low):.2f} to 1)"
    )


def class_weights(dataset: Dataset) -> NDArray[np.float32]:
    """Weigh classes for the loss so that each counts the same in sum.

    N / (number of classes * images of the class).
    """
    counts = np.maximum(class_counts(dataset), 1)
    return np.asarray(counts.sum() / (len(counts) * counts), np.float32)
