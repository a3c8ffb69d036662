"""Data sets from their official archives, by torchvision's own readers and checksums.

Importing this imports torch.
"""

import gzip
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5, extract_archive

from bench.data.cache import Decoded, Names
from bench.data.source import ARCHIVES, Layout, Source

Read = tuple[Decoded, Decoded, Names]  # training set, test set and names
Reader = Callable[[Source, Any, Path], Read]


def read_archive(source: Source) -> Read:
    """Read training set, test set and names; ValueError names a file whose md5 sum is wrong."""
    archive = ARCHIVES[source.name]
    dataset_class = getattr(datasets, archive.torchvision_class)
    with tempfile.TemporaryDirectory() as scratch:
        return READERS[archive.layout](source, dataset_class, Path(scratch))


def check_md5(path: Path, expected: str) -> None:
    """Compare a file with its published md5 sum; ValueError names the file and both sums."""
    found = calculate_md5(path) if path.is_file() else "no file"
    if found != expected:
        raise ValueError(
            f"{path}: md5 {found}, expected {expected}: "
            "the file is damaged or altered, fetch it again"
        )


def read_cifar(source: Source, dataset_class: Any, scratch: Path) -> Read:
    """Read CIFAR's pickled batches, unpacked into `scratch` where they are packed."""
    archive = ARCHIVES[source.name]
    root = source.folder.parent
    if source.files[0].name == archive.packed:
        check_md5(source.files[0], dataset_class.tgz_md5)
        extract_archive(str(source.files[0]), str(scratch))
        root = scratch
    folder = root / archive.folder
    # Checked here, since torchvision's own check doesn't say which file is wrong.
    meta = dataset_class.meta
    listed = [*dataset_class.train_list, *dataset_class.test_list]
    for file, md5 in [*listed, (meta["filename"], meta["md5"])]:
        check_md5(folder / file, md5)
    opened = dataset_class(root, train=True)
    train = _decoded_cifar(opened, folder, dataset_class.train_list)
    test = _decoded_cifar(dataset_class(root, train=False), folder, dataset_class.test_list)
    superclasses = _unpickle(folder / meta["filename"]).get("coarse_label_names", ())
    return train, test, Names(tuple(opened.classes), tuple(superclasses))


def _decoded_cifar(opened: Any, folder: Path, files: list[tuple[str, str]]) -> Decoded:
    """Take torchvision's pixels and labels; the coarse labels, which it doesn't read, from disk."""
    coarse: list[int] = []
    for file, _ in files:
        coarse.extend(_unpickle(folder / file).get("coarse_labels", ()))
    labels = np.asarray(opened.targets, np.int64)
    # Only CIFAR-100 has coarse labels.
    coarse_labels = np.asarray(coarse, np.int64) if coarse else None
    return Decoded(np.asarray(opened.data), labels, coarse_labels)


def _unpickle(path: Path) -> dict[str, Any]:
    """Load one of the archive's files.

    Unpickling runs what the file says: its md5 sum was checked before.
    """
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def read_idx(source: Source, dataset_class: Any, scratch: Path) -> Read:
    """Read MNIST's format, gzipped or not.

    torchvision reads only unpacked files that lie under its own root.
    """
    raw = scratch / ARCHIVES[source.name].folder
    raw.mkdir(parents=True)
    published = dict(dataset_class.resources)
    for path in source.files:
        # Published are the sums of the gzipped files alone.
        if path.suffix == ".gz":
            check_md5(path, published[path.name])
            with gzip.open(path) as packed, (raw / path.stem).open("wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            shutil.copy(path, raw)
    train = dataset_class(scratch, train=True)
    test = dataset_class(scratch, train=False)
    return _decoded_idx(train), _decoded_idx(test), Names(tuple(dataset_class.classes))


def _decoded_idx(opened: Any) -> Decoded:
    labels = opened.targets.numpy().astype(np.int64)
    return Decoded(opened.data.numpy()[..., None], labels)  # a channel of their own: (N, 28, 28, 1)


def read_svhn(source: Source, dataset_class: Any, _: Path) -> Read:
    """Read SVHN's MATLAB files, whose label 10 is the digit 0."""
    for split, path in zip(("train", "test"), source.files, strict=True):
        check_md5(path, dataset_class.split_list[split][2])
    train = dataset_class(source.folder, split="train")
    test = dataset_class(source.folder, split="test")
    return _decoded_svhn(train), _decoded_svhn(test), Names(tuple("0123456789"))


def _decoded_svhn(opened: Any) -> Decoded:
    images = opened.data.transpose(0, 2, 3, 1)  # torchvision gives (N, C, H, W)
    return Decoded(np.ascontiguousarray(images), opened.labels)


READERS: dict[Layout, Reader] = {"cifar": read_cifar, "idx": read_idx, "svhn": read_svhn}
