"""Data sets out of their files: the hub's parquet here, official archives in `archive.py`."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.data.cache import Decoded, Names
from bench.data.source import ARCHIVES, Source, open_parquet
from zoo.cause import first_line

# Tried first: Pillow's own guess at the format costs as much as the decoding.
FAST_FORMATS = ("PNG", "WEBP")


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
    images = []
    for row, content in enumerate(table[image_column].to_pylist()):
        images.append(_decode_image(content["bytes"], path, row))
    labels = table[label_column].to_numpy().astype(np.int64)
    coarse = None
    if "coarse_label" in table.column_names:
        coarse = table["coarse_label"].to_numpy().astype(np.int64)
    return Decoded(np.stack(images), labels, coarse)


def _read_table(path: Path) -> Any:
    # Imported here: it is loaded where parquet files were found, and nowhere else.
    import pyarrow

    try:
        return open_parquet(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged parquet file ({first_line(error)})") from error


def _decode_image(content: bytes, path: Path, row: int) -> NDArray[np.uint8]:
    try:
        image = _open_image(content)
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: row {row} is not a readable image ({error})") from error
    if pixels.shape != (32, 32, 3):
        height, width = pixels.shape[:2]
        raise ValueError(f"{path}: row {row} is {width}x{height} px, not 32x32")
    return pixels


def _open_image(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FAST_FORMATS)
    except UnidentifiedImageError:
        return Image.open(io.BytesIO(content))


def _read_names(source: Source) -> Names:
    """Read the names that the hub writes into the schema's metadata."""
    metadata = open_parquet(source.train[0]).schema_arrow.metadata or {}
    described = json.loads(metadata.get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    fine = features.get(ARCHIVES[source.name].label_column, {}).get("names", ())
    coarse = features.get("coarse_label", {}).get("names", ())
    return Names(tuple(fine), tuple(coarse))
