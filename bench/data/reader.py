"""Data sets out of their files.

The hub's parquet here, official archives in `archive.py`, to uint8 arrays.
"""

import gzip
import io
import json
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5, extract_archive

from bench.data.cache import Decoded, Names
from bench.data.source import ARCHIVES, LABEL_COLUMNS, Source, open_parquet

FAST_FORMATS = ("PNG", "WEBP")  # tried first: Pillow's own guess costs as much as the decoding


def decode(source: Source) -> tuple[Decoded, Decoded, Names]:
    """Decode the training set, the test set and the names.

    ValueError names the file that can't be read or whose checksum is wrong.
    """
    if source.kind == "archive":
        return read_archive(source)
    return (
        _read_parquet(source.name, source.train),
        _read_parquet(source.name, source.test),
        _names(source),
    )


def _read_parquet(name: str, paths: tuple[Path, ...]) -> Decoded:
    parts = [_read_file(name, path) for path in paths]
    coarse = [part.coarse for part in parts if part.coarse is not None]
    return Decoded(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(coarse) if coarse else None,
    )


def _read_file(name: str, path: Path) -> Decoded:
    import pyarrow

    try:
        table = open_parquet(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged parquet file ({str(error).splitlines()[0]})") from error
    column = "img" if "img" in table.column_names else "image"
    if column not in table.column_names or LABEL_COLUMNS[name] not in table.column_names:
        raise ValueError(
            f"{path}: columns {table.column_names}, but {name} has img and {LABEL_COLUMNS[name]}"
        )
    images = np.stack(
        [_decode_image(row["bytes"], path, i) for i, row in enumerate(table[column].to_pylist())]
    )
    labels = table[LABEL_COLUMNS[name]].to_numpy().astype(np.int64)
    coarse = (
        table["coarse_label"].to_numpy().astype(np.int64)
        if "coarse_label" in table.column_names
        else None
    )
    return Decoded(images, labels, coarse)


def _decode_image(content: bytes, path: Path, row: int) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        try:
            image: Image.Image = Image.open(io.BytesIO(content), formats=FAST_FORMATS)
        except UnidentifiedImageError:
            image = Image.open(io.BytesIO(content))
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: row {row} is not a readable image ({error})") from error
    if pixels.shape != (32, 32, 3):
        raise ValueError(f"{path}: row {row} is {pixels.shape[1]}x{pixels.shape[0]} px, not 32x32")
    return pixels


def _names(source: Source) -> Names:
    """Read the names that the hub writes into the schema's metadata."""
    metadata = open_parquet(source.train[0]).schema_arrow.metadata or {}
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    fine = features.get(LABEL_COLUMNS[source.name], {}).get("names", ())
    return Names(tuple(fine), tuple(features.get("coarse_label", {}).get("names", ())))


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
