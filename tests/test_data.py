"""Decoded data sets.

Oracles: hashlib's sums, numpy's mean and deviation, the images that the test itself wrote, and the
figures published with CIFAR-100.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.data import set_build
from bench.data.dataset import open_dataset
from tests.support.image_factory import (
    NUM_CLASSES,
    TEST,
    TRAIN,
    encoded,
    one_line,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("own_cache")

REAL = os.environ.get("ZOOMETRY_DATA")


def coarse_cifar100(folder: Path, coarse: Any) -> Path:
    """Write CIFAR-100's layout, ten classes of it."""
    write_parquet(folder, "train", TRAIN[0], {"fine_label": TRAIN[1], "coarse_label": coarse})
    write_parquet(folder, "test", TEST[0], {"fine_label": TEST[1], "coarse_label": TEST[1] % 2})
    return folder


def test_rows_are_ordered_by_the_sha256_of_their_pixels(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    centre = found.train.images[:, 4:36, 4:36]
    sums = [hashlib.sha256(image.tobytes()).hexdigest() for image in centre]
    assert sums == sorted(sums)
    label_of = {image.tobytes(): label for image, label in zip(*TRAIN, strict=True)}
    assert [
        label_of[np.ascontiguousarray(image).tobytes()] for image in centre
    ] == found.train.labels.tolist()


def test_every_image_is_stored_inside_a_margin_of_zeros(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    assert found.test.images.shape == (50, 40, 40, 3)
    assert isinstance(found.test.images, np.memmap)
    assert found.test.images.sum(dtype=np.int64) == TEST[0].sum(dtype=np.int64)
    assert found.test.images[:, 4:36, 4:36].sum(dtype=np.int64) == TEST[0].sum(dtype=np.int64)


def test_validation_is_a_tenth_of_each_class_and_apart_from_training(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    assert sorted([*found.train_indices, *found.validation_indices]) == list(range(200))
    assert np.bincount(found.train.labels[found.validation_indices]).tolist() == [2] * NUM_CLASSES


def test_published_protocol_trains_on_everything(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10, protocol="published")
    assert found.train_indices.tolist() == list(range(200))
    assert len(found.validation_indices) == 0


def test_mean_and_deviation_are_numpys(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    scaled = TRAIN[0].astype(np.float64).reshape(-1, 3) / 255
    assert found.mean == pytest.approx(scaled.mean(0), abs=1e-12)
    assert found.std == pytest.approx(scaled.std(0), abs=1e-12)


def test_superclasses_come_from_the_coarse_labels(tmp_path: Path) -> None:
    found = open_dataset("cifar100", coarse_cifar100(tmp_path / "c", TRAIN[1] % 2))
    assert found.superclass_of == (0, 1) * 5
    assert found.superclass_names == ("coarse_label 0", "coarse_label 1")
    assert found.class_names[3] == "fine_label 3"


def test_class_in_two_superclasses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two superclasses") as error:
        open_dataset("cifar100", coarse_cifar100(tmp_path / "c", np.arange(200) % 3))
    one_line(error)


@pytest.mark.parametrize("encoding", ["WEBP", "BMP"])
def test_any_column_name_and_format_that_pillow_reads(
    encoding: str, cifar10: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other" / "plain_text"
    for part, (images, labels) in (("train", TRAIN), ("test", TEST)):
        write_parquet(folder, part, images, {"label": labels}, column="image", encoding=encoding)
    assert (
        open_dataset("cifar10", folder.parent).checksum == open_dataset("cifar10", cifar10).checksum
    )


def test_altered_superclasses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_dataset("cifar100", coarse_cifar100(tmp_path / "c", TRAIN[1] % 2))
    monkeypatch.setattr(set_build, "CHECKSUMS", {("cifar100", "both"): found.checksum})
    with pytest.raises(
        ValueError, match=rf"the labels have checksum .*, expected {found.checksum}"
    ) as error:
        open_dataset("cifar100", coarse_cifar100(tmp_path / "altered", (TRAIN[1] + 1) % 2))
    assert "altered/train-00000-of-00001.parquet" in one_line(error)


def test_labels_without_a_class_are_refused(cifar10: Path) -> None:
    write_parquet(cifar10, "test", TEST[0], {"label": TEST[1] + 1})
    with pytest.raises(
        ValueError, match=r"test-00000-of-00001.parquet: labels from 1 to 10, .* 10 classes"
    ) as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def test_truncated_parquet_is_named(cifar10: Path) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"test-00000-of-00001.parquet: truncated") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def test_altered_parquet_is_refused_with_both_sums(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.argsort([hashlib.sha256(image.tobytes()).digest() for image in TRAIN[0]])
    total = hashlib.sha256(
        str(TRAIN[0].shape).encode() + TRAIN[0][order].tobytes() + TRAIN[1][order].tobytes()
    )
    monkeypatch.setattr(set_build, "CHECKSUMS", {("cifar10", "train"): total.hexdigest()})
    open_dataset("cifar10", cifar10)
    images = TRAIN[0].copy()
    images[17, 3, 3, 1] ^= 1
    write_parquet(tmp_path / "altered", "train", images, {"label": TRAIN[1]})
    write_parquet(tmp_path / "altered", "test", TEST[0], {"label": TEST[1]})
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet: .* checksum") as error:
        open_dataset("cifar10", tmp_path / "altered")
    assert total.hexdigest() in one_line(error)


def test_unreadable_row_is_named(cifar10: Path, tmp_path: Path) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    at = content.index(b"IDAT") + 20
    path.write_bytes(content[:at] + b"\0" * 40 + content[at + 40 :])
    with pytest.raises(ValueError, match=r"test-00000-of-00001.parquet: (row 0|damaged)") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def rewrite(path: Path, column: str, values: Any) -> None:
    table = parquet.read_table(path)
    place = table.column_names.index(column)
    parquet.write_table(table.set_column(place, column, pa.array(values)), path)


def encoded_with(content: Any) -> list[Any]:
    return [{"bytes": content, "path": ""}, *[{"bytes": b"", "path": ""}] * 49]


@pytest.mark.parametrize(
    ("column", "values", "line"),
    [
        ("label", [1.7] * 50, "label is of type double, labels are whole numbers"),
        ("label", ["3"] * 50, "label is of type string"),
        ("label", [True] * 50, "label is of type bool"),
        ("label", [None] + [1] * 49, "1 rows have no label"),
        ("img", [None] * 50, "row 0 holds no encoded image"),
        ("img", encoded_with(None), "row 0 holds no encoded image"),
        ("img", ["text"] * 50, "row 0 holds no encoded image"),
        (
            "img",
            encoded_with(encoded(np.zeros((12_000, 12_000, 1), np.uint8)[..., 0], "PNG")),
            "row 0",
        ),
        ("img", encoded_with(encoded(np.zeros((33, 32, 3), np.uint8), "PNG")), "row 0 is 32x33 px"),
        ("img", encoded_with(b"%!PS-Adobe-3.0 EPSF-3.0"), "row 0 is not a readable image"),
    ],
    ids=[
        "fraction",
        "text",
        "bool",
        "none",
        "no-image",
        "no-bytes",
        "words",
        "bomb",
        "size",
        "eps",
    ],
)
def test_odd_columns_are_refused_in_one_line(
    column: str, values: Any, line: str, cifar10: Path
) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    rewrite(path, column, values)
    with pytest.raises(ValueError, match=f"test-00000-of-00001.parquet: .*{line}") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


@pytest.mark.parametrize(
    "metadata",
    ["{", "[]", '{"info": 3}', '{"info": {"features": {"label": {"names": {"0": "a"}}}}}', "\xff"],
)
def test_odd_metadata_is_refused_in_one_line(metadata: str, cifar10: Path) -> None:
    path = cifar10 / "train-00000-of-00001.parquet"
    table = parquet.read_table(path)
    written = {"huggingface": metadata.encode("latin1")}
    parquet.write_table(table.replace_schema_metadata(written), path)
    with pytest.raises(ValueError, match=r"train-.*parquet: its metadata isn't the hub's") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def test_a_file_without_rows_or_a_pipe_is_refused(cifar10: Path) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    with pytest.raises(ValueError, match="parquet: holds no images"):
        open_dataset("cifar10", cifar10)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="parquet: not a regular file"):
        open_dataset("cifar10", cifar10)


@pytest.mark.skipif(not REAL, reason="ZOOMETRY_DATA doesn't name a folder with the real CIFAR-100")
def test_real_cifar100_has_the_published_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = open_dataset("cifar100", Path(str(REAL)))
    assert not found.stand_in
    assert np.round(found.mean, 4).tolist() == [0.5071, 0.4865, 0.4409]
    assert np.round(found.std, 4).tolist() == [0.2673, 0.2564, 0.2762]
    assert np.bincount(found.train.labels).tolist() == [500] * 100
    assert np.bincount(found.test.labels).tolist() == [100] * 100
    assert np.bincount(found.train.labels[found.validation_indices]).tolist() == [50] * 100
    assert np.bincount(found.superclass_of).tolist() == [5] * 20
    assert (
        found.superclass_names[found.superclass_of[found.class_names.index("wolf")]]
        == "large_carnivores"
    )
