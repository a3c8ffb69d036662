"""Data sets out of their files: the hub's parquet here, official archives in `archive.py`."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Decoded, Names
from bench.data.picture import open_picture, to_rgb
from bench.data.source import ARCHIVES, Source, open_parquet
from zoo.cause import first_line

IMAGE_SIZE = (32, 32)


def decode(source: Source) -> tuple[Decoded, Decoded, Names]:
    """Decode the training set, the test set and the names.

    ValueError names the file that can't be read or whose checksum is wrong.
    """
    if source.kind == "archive":
        # Imported here: torchvision takes seconds, and a set is decoded once.
        from bench.data.archive import read_archive

        return read_archive(source)
    train = _read_parquet(source.name, source.train)
    test = _read_parquet(source.name, source.test)
    return train, test, _read_names(source)


def _read_parquet(name: str, paths: Sequence[Path]) -> Decoded:
    parts = [_read_file(name, path) for path in paths]
    coarse = [part.coarse for part in parts if part.coarse is not None]
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    return Decoded(images, labels, np.concatenate(coarse) if coarse else None)


def _read_file(name: str, path: Path) -> Decoded:
    table = _read_table(path)
    image_column = "img" if "img" in table.column_names else "image"
    label_column = ARCHIVES[name].label_column
    if not {image_column, label_column} <= set(table.column_names):
        raise ValueError(
            f"{path}: columns {table.column_names}, but {name} has img and {label_column}"
        )
    if not table.num_rows:
        raise ValueError(f"{path}: holds no images")
    images = []
    for row, content in enumerate(table[image_column].to_pylist()):
        images.append(_decode_image(content, path, row))
    labels = _read_labels(table, label_column, path)
    coarse = None
    if "coarse_label" in table.column_names:
        coarse = _read_labels(table, "coarse_label", path)
    return Decoded(np.stack(images), labels, coarse)


def _read_labels(table: Any, column: str, path: Path) -> NDArray[np.int64]:
    """Read a column of class numbers. ValueError where it holds anything else, or nothing."""
    from pyarrow import types

    found = table[column]
    if not types.is_integer(found.type):
        raise ValueError(f"{path}: {column} is of type {found.type}, labels are whole numbers")
    if found.null_count:
        raise ValueError(f"{path}: {found.null_count} rows have no {column}")
    return np.asarray(found.to_numpy(), np.int64)


def _read_table(path: Path) -> Any:
    # Imported here: it is loaded where parquet files were found, and nowhere else.
    import pyarrow

    try:
        return open_parquet(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged parquet file ({first_line(error)})") from error


def _decode_image(content: Any, path: Path, row: int) -> NDArray[np.uint8]:
    encoded = content.get("bytes") if isinstance(content, dict) else content
    if not isinstance(encoded, bytes):
        raise ValueError(f"{path}: row {row} holds no encoded image")
    try:
        image = open_picture(io.BytesIO(encoded))
        # Before anything is decoded: a small file may claim any number of pixels.
        if image.size == IMAGE_SIZE:
            return np.asarray(to_rgb(image))
    except Exception as error:
        # Pillow's decoders raise errors of every kind at a damaged image.
        raise ValueError(
            f"{path}: row {row} is not a readable image ({first_line(error)})"
        ) from error
    width, height = image.size
    raise ValueError(f"{path}: row {row} is {width}x{height} px, not 32x32")


def _read_names(source: Source) -> Names:
    """Read the names that the hub writes into the schema's metadata.

    ValueError where there is metadata of the hub's that isn't as the hub writes it.
    """
    path = source.train[0]
    metadata = open_parquet(path).schema_arrow.metadata or {}
    try:
        described = json.loads(metadata.get(b"huggingface", b"{}"))
        features = described.get("info", {}).get("features", {})
        fine = features.get(ARCHIVES[source.name].label_column, {}).get("names") or ()
        coarse = features.get("coarse_label", {}).get("names") or ()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its metadata isn't the hub's ({first_line(error)})") from error
    for names in (fine, coarse):
        is_list = isinstance(names, list | tuple)
        if not is_list or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: its metadata isn't the hub's (names are a list of texts)")
    return Names(tuple(fine), tuple(coarse))
