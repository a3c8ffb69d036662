"""Data sets: found, decoded once, put in canonical order, split, and mapped into memory. No torch unless it decodes.

Canonical order is by the sha256 of the pixels, then the label: the same from every source, and as good as random, so
that the first tenth of a class is a fixed random tenth on every machine.
"""

import difflib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench import source as sources
from bench import synthetic
from bench.cache import Facts, Say, open_cached
from bench.decode import Decoded, Names, decode
from bench.source import Source

Protocol = Literal["split", "published"]
DATASETS = ("auto", "cifar100", "cifar10", "synthetic")
MARGIN = 4  # zeros around an image of 32 px: a crop moves by up to 4 px each way
CHUNK = 4096  # images that are touched at a time
VALIDATION_SHARE = 10  # one in ten images of each class

# What the parts of CIFAR-100 add up to in canonical order, computed from a verified copy of the whole set.
CHECKSUMS = {
    ("cifar100", "train"): "dea4d1fd172ff6d3a791532c16c0c253d4b7940e98c226265e55baf2a2753a52",
    ("cifar100", "test"): "8549619d92b50f52ace963e8bcdae37a33af74c703ba8af8d23095ab3549f6f5",
    ("synthetic", "train"): synthetic.CHECKSUM_TRAIN,
    ("synthetic", "test"): synthetic.CHECKSUM_TEST,
}


@dataclass(frozen=True)
class ImageSet:
    """One stored set in canonical order, memory-mapped: read it, and it stays on disk's cached pages.

    `images` are (N, size + 2 margin, size + 2 margin, C) uint8; the centre window is the image. `labels` are (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set with its split. `mean` and `std` are of the whole training set's pixels, on the scale 0 to 1.

    `checksum` covers the pixels and labels of both sets in canonical order. `train_indices` and `validation_indices`
    point into `train`; under the protocol `published` the first are all and the second none.
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


def check_dataset(name: str, data_dir: Path | None) -> None:
    """Check that a data set can be opened, without decoding; ValueError says where a named one was looked for."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}{hint}")
    if name == "auto":
        sources.roots(data_dir)
    elif name != "synthetic" and not sources.find(name, data_dir):
        raise sources.missing(name, data_dir)


def open_dataset(
    name: str,
    data_dir: Path | None,
    *,
    protocol: Protocol = "split",
    image_size: int | None = None,
    say: Say = silent,
) -> Dataset:
    """Open a data set by name, decoding it into the cache if this is its first time.

    `auto` is CIFAR-100 where it is found or can be downloaded, else the stand-in `synthetic`, which is said.
    `image_size` is for image folders alone. ValueError, one line, for everything that a user can put right.
    """
    check_dataset(name, data_dir)
    source = _choose(name, data_dir, say)
    stamp = f"{source.stamp} {_expected(source)}"
    folder, facts = open_cached(
        source.name, source.identity, stamp=stamp, build=lambda aside: _build(source, aside, say), say=say
    )
    return _dataset(source, folder, facts, protocol)


def _choose(name: str, data_dir: Path | None, say: Say) -> Source:
    if name == "synthetic":
        return EMBEDDED
    found = sources.find("cifar100" if name == "auto" else name, data_dir)
    if found:
        return found
    if name != "auto":
        raise sources.missing(name, data_dir)
    looked = ", ".join(str(root) for root in sources.roots(data_dir))
    say(f"CIFAR-100 is not in {looked}")
    fetched = sources.fetch("cifar100", say)
    if fetched is None:
        say("using the embedded stand-in `synthetic`: its figures say nothing about real images")
    return fetched or EMBEDDED


EMBEDDED = Source("synthetic", "embedded", Path("/"))


def _build(source: Source, folder: Path, say: Say) -> Facts:
    """Decode, order, check and write a set; returns what the cache keeps about it."""
    say(f"decoding {source.name} ({source.kind}) into the cache, once")
    with tempfile.TemporaryDirectory() as scratch:
        train, test, names = _decoded(source, Path(scratch))
    sets = {"train": canonical(train), "test": canonical(test)}
    sums = {part: checksum(one) for part, one in sets.items()}
    _check_sums(source, sums)
    for part, one in sets.items():
        _write(folder, part, one)
    mean, std = statistics(sets["train"].images)
    superclass_of = superclasses(sets["train"])
    return {
        "checksum": hashlib.sha256(f"{sums['train']} {sums['test']} {superclass_of}".encode()).hexdigest(),
        "size": train.images.shape[1],
        "margin": MARGIN,
        "class_names": names.classes or [str(i) for i in range(int(train.labels.max()) + 1)],
        "superclass_names": names.superclasses or [str(i) for i in range(len(set(superclass_of)))],
        "superclass_of": superclass_of,
        "mean": mean,
        "std": std,
    }


def _decoded(source: Source, scratch: Path) -> tuple[Decoded, Decoded, Names]:
    return synthetic.make() if source.kind == "embedded" else decode(source, scratch)


def canonical(one: Decoded) -> Decoded:
    """Put a set in canonical order: by the sha256 of each image's pixels, then by label."""
    keys = [
        (hashlib.sha256(image.tobytes()).digest(), label) for image, label in zip(one.images, one.labels, strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Decoded(one.images[order], one.labels[order], None if one.coarse is None else one.coarse[order])


def checksum(one: Decoded) -> str:
    """Compute the sha256 of a set: its shape, pixels and labels (little-endian 64 bits)."""
    total = hashlib.sha256(str(one.images.shape).encode())
    total.update(np.ascontiguousarray(one.images).data)
    total.update(one.labels.astype("<i8").tobytes())
    return total.hexdigest()


def _expected(source: Source) -> dict[str, str]:
    """Look up what the parts of a set must add up to, where that is known."""
    return {part: total for (name, part), total in CHECKSUMS.items() if name == source.name}


def _check_sums(source: Source, sums: dict[str, str]) -> None:
    for part, found in sums.items():
        expected = _expected(source).get(part, found)
        if found != expected:
            files = ", ".join(str(path) for path in (source.train if part == "train" else source.test or source.train))
            raise ValueError(
                f"{files or source.name}: the {part} images have checksum {found}, expected {expected}: "
                "the data is damaged or altered"
            )


def superclasses(one: Decoded) -> list[int]:
    """Read each class's superclass off the images; empty without coarse labels, ValueError if a class has two."""
    if one.coarse is None:
        return []
    pairs = sorted({(int(fine), int(coarse)) for fine, coarse in zip(one.labels, one.coarse, strict=True)})
    if len(pairs) != len({fine for fine, _ in pairs}):
        raise ValueError("the coarse labels are damaged: one class lies in two superclasses")
    return [coarse for _, coarse in pairs]


def statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Compute mean and deviation of each channel on the scale 0 to 1, from exact integer counts."""
    levels = np.arange(256)
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for chunk in _chunks(images):
        for channel in range(images.shape[-1]):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    total = counts.sum(1)
    mean = counts @ levels / total
    std = np.sqrt(counts @ levels**2 / total - mean**2)
    return (mean / 255).tolist(), (std / 255).tolist()


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK]


def _write(folder: Path, part: str, one: Decoded) -> None:
    border = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    np.save(folder / f"{part}_images.npy", np.pad(one.images, border))
    np.save(folder / f"{part}_labels.npy", one.labels)


def _mapped(folder: Path, part: str) -> ImageSet:
    """Map a stored set. Copy-on-write, which nobody uses: torch warns about arrays that it may not write to."""
    images = np.load(folder / f"{part}_images.npy", mmap_mode="c")
    return ImageSet(images, np.load(folder / f"{part}_labels.npy"))


def _dataset(source: Source, folder: Path, facts: dict[str, Any], protocol: Protocol) -> Dataset:
    train = _mapped(folder, "train")
    rows, held_out = split(train.labels) if protocol == "split" else (np.arange(len(train.labels)), NOTHING)
    return Dataset(
        name=source.name,
        stand_in=source.kind == "embedded",
        source=source.kind,
        checksum=facts["checksum"],
        size=facts["size"],
        margin=facts["margin"],
        train=train,
        test=_mapped(folder, "test"),
        train_indices=rows,
        validation_indices=held_out,
        protocol=protocol,
        class_names=tuple(facts["class_names"]),
        superclass_names=tuple(facts["superclass_names"]),
        superclass_of=tuple(facts["superclass_of"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )


NOTHING = np.zeros(0, np.int64)


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the validation set: the first tenth of each class in canonical order (at least one image of two or more).

    Returns the rows that are left and the rows cut off, both ascending.
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held_out[rows[: max(len(rows) // VALIDATION_SHARE, int(len(rows) > 1))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
