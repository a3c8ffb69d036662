"""Data sets from their official archives, by torchvision's own readers and checksums. Importing this imports torch."""

import gzip
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5, extract_archive

from bench.data.cache import Decoded, Names
from bench.data.source import ARCHIVES, Source


def read_archive(source: Source) -> tuple[Decoded, Decoded, Names]:
    """Read training set, test set and names; ValueError names a file whose md5 sum is wrong."""
    kind = getattr(datasets, ARCHIVES[source.name].torchvision_class)
    with tempfile.TemporaryDirectory() as scratch:
        if source.name == "svhn":
            return _read_svhn(source, kind)
        if source.name.endswith("mnist"):
            return _read_mnist(source, kind, Path(scratch))
        return _read_cifar(source, kind, Path(scratch))


def check_md5(path: Path, expected: str) -> None:
    """Compare a file with its published md5 sum; ValueError names the file and both sums."""
    found = calculate_md5(path) if path.is_file() else "no file"
    if found != expected:
        raise ValueError(
            f"{path}: md5 {found}, expected {expected}: the file is damaged or altered, fetch it again"
        )


def _read_cifar(source: Source, kind: Any, scratch: Path) -> tuple[Decoded, Decoded, Names]:
    archive = ARCHIVES[source.name]
    root = source.folder.parent
    if source.files[0].name == archive.packed:
        check_md5(source.files[0], kind.tgz_md5)
        extract_archive(str(source.files[0]), str(scratch))
        root = scratch
    folder = root / archive.base
    for file, md5 in [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]:
        check_md5(folder / file, md5)
    train, test = kind(root, train=True), kind(root, train=False)
    names = Names(
        tuple(train.classes),
        tuple(_unpickle(folder / kind.meta["filename"]).get("coarse_label_names", ())),
    )
    return (
        _cifar_set(train, folder, kind.train_list),
        _cifar_set(test, folder, kind.test_list),
        names,
    )


def _cifar_set(opened: Any, folder: Path, files: list[tuple[str, str]]) -> Decoded:
    """Take torchvision's pixels and labels, and the coarse labels, which it doesn't read, from the files."""
    coarse = [
        label for file, _ in files for label in _unpickle(folder / file).get("coarse_labels", ())
    ]
    labels = np.asarray(opened.targets, np.int64)
    return Decoded(
        np.asarray(opened.data), labels, np.asarray(coarse, np.int64) if coarse else None
    )


def _unpickle(path: Path) -> dict[str, Any]:
    """Load one of the archive's files, whose md5 sum was checked before.

    Unpickling runs what the file says.
    """
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def _read_mnist(source: Source, kind: Any, scratch: Path) -> tuple[Decoded, Decoded, Names]:
    raw = scratch / ARCHIVES[source.name].base
    raw.mkdir(parents=True)
    sums = dict(kind.resources)
    for path in source.files:
        if path.suffix == ".gz":
            check_md5(path, sums[path.name])
            with gzip.open(path) as packed, (raw / path.stem).open("wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            shutil.copy(path, raw)
    train, test = (_mnist_set(kind(scratch, train=part)) for part in (True, False))
    return train, test, Names(tuple(kind.classes))


def _mnist_set(opened: Any) -> Decoded:
    return Decoded(opened.data.numpy()[..., None], opened.targets.numpy().astype(np.int64))


def _read_svhn(source: Source, kind: Any) -> tuple[Decoded, Decoded, Names]:
    for split, path in zip(("train", "test"), source.files, strict=True):
        check_md5(path, kind.split_list[split][2])
    train, test = (kind(source.folder, split=split) for split in ("train", "test"))
    return _svhn_set(train), _svhn_set(test), Names(tuple("0123456789"))


def _svhn_set(opened: Any) -> Decoded:
    return Decoded(np.ascontiguousarray(opened.data.transpose(0, 2, 3, 1)), opened.labels)
