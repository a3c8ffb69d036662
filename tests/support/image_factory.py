"""Small data sets for tests.

Random images as parquet files, as an official archive, or straight in memory.
"""

import hashlib
import io
import json
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from bench.data import set_build
from bench.data.dataset import Dataset, ImageSet, split
from bench.data.pixels import ModelInput

NUM_CLASSES = 10


def random_images(
    n: int, seed: int, size: int = 32, channels: int = 3
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw images (n, size, size, channels) and labels (n,) of ten classes in turn."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, size, size, channels), np.uint8), np.arange(n) % NUM_CLASSES


def write_parquet(
    folder: Path,
    part: str,
    images: NDArray[np.uint8],
    columns: dict[str, Any],
    *,
    column: str = "img",
    encoding: str = "PNG",
) -> Path:
    """Write one part of a set in the hub's layout.

    Encoded images, label columns, names in the schema's metadata.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = {
        name: {"names": [f"{name} {i}" for i in range(int(max(values)) + 1)], "_type": "ClassLabel"}
        for name, values in columns.items()
    }
    rows = pa.array([{"bytes": encoded(image, encoding), "path": ""} for image in images])
    table = pa.table({column: rows, **{name: pa.array(values) for name, values in columns.items()}})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = folder / f"{part}-00000-of-00001.parquet"
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def encoded(image: NDArray[np.uint8], encoding: str) -> bytes:
    """Encode one image (H, W, 3) without loss."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, encoding, lossless=True)
    return buffer.getvalue()


def write_batch(path: Path, images: NDArray[np.uint8], labels: dict[str, Any]) -> str:
    """Write one pickled batch as the official archives hold them (planes of red, green, blue).

    Returns its md5 sum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = pickle.dumps(
        {"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), **labels}
    )
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


TRAIN, TEST = random_images(200, 1), random_images(50, 2)


def write_cifar10(folder: Path) -> Path:
    """Write TRAIN and TEST as CIFAR-10 in the hub's layout, training rows in another order."""
    order = np.random.default_rng(3).permutation(len(TRAIN[0]))
    write_parquet(folder, "train", TRAIN[0][order], {"label": TRAIN[1][order]})
    write_parquet(folder, "test", TEST[0], {"label": TEST[1]})
    return folder


def use_own_cache(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep a test away from the user's cache and data, and from the real sets' checksums."""
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.delenv("ZOOMETRY_DATA", raising=False)
    patch.setattr("bench.data.source.INSTALLED", folder / "installed")
    patch.setattr(set_build, "CHECKSUMS", {})


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    """Check that an error is one line, and return it."""
    assert "\n" not in str(error.value)
    return str(error.value)


def memory_dataset(
    n: int, *, size: int = 32, margin: int = 4, channels: int = 3, seed: int = 0
) -> Dataset:
    """Make a data set of `n` training and 50 test images in memory, split as a stored one is."""
    sets = []
    for part, count in enumerate((n, 50)):
        images, labels = random_images(count, seed + part, size, channels)
        sets.append(
            ImageSet(np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0))), labels)
        )
    rows, held_out = split(sets[0].labels)
    return Dataset(
        name="memory",
        stand_in=True,
        source="embedded",
        checksum="",
        size=size,
        margin=margin,
        train=sets[0],
        test=sets[1],
        train_indices=rows,
        validation_indices=held_out,
        protocol="split",
        class_names=tuple(map(str, range(NUM_CLASSES))),
        superclass_names=(),
        superclass_of=(),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


def model_input(options: dict[str, Any]) -> tuple[ModelInput, dict[str, Any]]:
    """Part a loader's options into what the model takes and the rest."""
    names = {field.name for field in fields(ModelInput)}
    own = {name: options.pop(name) for name in names & options.keys()}
    return ModelInput(**own), options
