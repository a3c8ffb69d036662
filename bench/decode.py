"""Data sets out of their files: parquet and official archives to uint8 arrays. torchvision only where it must."""

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.source import ARCHIVES, LABEL_COLUMNS, Source, open_parquet

FAST_FORMATS = ("PNG", "WEBP")  # tried first: Pillow's own guess costs as much as the decoding


@dataclass(frozen=True)
class Decoded:
    """One decoded set in its file's order: images (N, S, S, C) uint8, labels (N,) and coarse labels (N,) or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    coarse: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Names:
    """Names of the classes and superclasses; empty where the file has none."""

    classes: tuple[str, ...] = ()
    superclasses: tuple[str, ...] = ()


def decode(source: Source, scratch: Path) -> tuple[Decoded, Decoded, Names]:
    """Decode the training set, the test set and the names. An archive that is still packed is unpacked into `scratch`.

    ValueError names the file that can't be read or whose checksum is wrong.
    """
    if source.kind == "parquet":
        return _read_parquet(source.name, source.train), _read_parquet(source.name, source.test), _parquet_names(source)
    return _read_archive(source, scratch)


def _read_parquet(name: str, paths: tuple[Path, ...]) -> Decoded:
    parts = [_read_parquet_file(name, path) for path in paths]
    coarse = [part.coarse for part in parts if part.coarse is not None]
    return Decoded(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(coarse) if coarse else None,
    )


def _read_parquet_file(name: str, path: Path) -> Decoded:
    import pyarrow

    try:
        table = open_parquet(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged parquet file ({str(error).splitlines()[0]})") from error
    column = "img" if "img" in table.column_names else "image"
    if column not in table.column_names or LABEL_COLUMNS[name] not in table.column_names:
        raise ValueError(f"{path}: columns {table.column_names}, but {name} has img and {LABEL_COLUMNS[name]}")
    images = np.stack([_decode_image(row["bytes"], path, i) for i, row in enumerate(table[column].to_pylist())])
    labels = table[LABEL_COLUMNS[name]].to_numpy().astype(np.int64)
    coarse = table["coarse_label"].to_numpy().astype(np.int64) if "coarse_label" in table.column_names else None
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


def _parquet_names(source: Source) -> Names:
    """Read the names that the hub writes into the schema's metadata."""
    metadata = open_parquet(source.train[0]).schema_arrow.metadata or {}
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    fine = features.get(LABEL_COLUMNS[source.name], {}).get("names", ())
    return Names(tuple(fine), tuple(features.get("coarse_label", {}).get("names", ())))


def _read_archive(source: Source, scratch: Path) -> tuple[Decoded, Decoded, Names]:
    from torchvision import datasets

    archive = ARCHIVES[source.name]
    kind = getattr(datasets, archive.torchvision_class)
    root = _unpack(source, kind.tgz_md5, scratch) if source.files[0].name == archive.packed else source.folder
    folder = root / archive.base
    for file, md5 in [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]:
        check_md5(folder / file, md5)
    train, test = kind(root, train=True), kind(root, train=False)
    meta = _unpickle(folder / kind.meta["filename"])
    names = Names(tuple(train.classes), tuple(meta.get("coarse_label_names", ())))
    return _archived(train, folder, kind.train_list), _archived(test, folder, kind.test_list), names


def _archived(opened: Any, folder: Path, files: list[tuple[str, str]]) -> Decoded:
    coarse = [label for file, _ in files for label in _unpickle(folder / file).get("coarse_labels", ())]
    labels = np.asarray(opened.targets, np.int64)
    return Decoded(np.asarray(opened.data), labels, np.asarray(coarse, np.int64) if coarse else None)


def _unpickle(path: Path) -> dict[str, Any]:
    """Load one of the archive's files, whose md5 sum was checked before: unpickling runs what the file says."""
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def _unpack(source: Source, md5: str, scratch: Path) -> Path:
    from torchvision.datasets.utils import extract_archive

    check_md5(source.files[0], md5)
    extract_archive(str(source.files[0]), str(scratch))
    return scratch


def check_md5(path: Path, expected: str) -> None:
    """Compare a file with its published md5 sum; ValueError names the file and both sums."""
    from torchvision.datasets.utils import calculate_md5

    found = calculate_md5(path) if path.is_file() else "no file"
    if found != expected:
        raise ValueError(f"{path}: md5 {found}, expected {expected}: the file is damaged or altered, fetch it again")
