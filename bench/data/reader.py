"""Data sets out of their files.

The hub's parquet here, official archives in `archive.py`, to uint8 arrays.
"""

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Decoded, Names
from bench.data.source import LABEL_COLUMNS, Source, open_parquet

FAST_FORMATS = ("PNG", "WEBP")  # tried first: Pillow's own guess costs as much as the decoding


def decode(source: Source) -> tuple[Decoded, Decoded, Names]:
    """Decode the training set, the test set and the names.

    ValueError names the file that can't be read or whose checksum is wrong.
    """
    if source.kind == "archive":
        # Imported here: torchvision takes seconds, and a set is decoded once.
        from bench.data.archive import read_archive

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
