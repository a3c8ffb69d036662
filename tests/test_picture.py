"""Pictures of the page. Oracle: the arrays that were stored, met again in the decoded PNGs."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from reports.model_card import filters_of, samples_of
from reports.ranking import Entry, entries_of
from reports.runs import read_source
from tests.support.record_factory import ZOO, data_info, predictions, record, write_run

DRAW = np.random.default_rng(0)


def decoded(address: str) -> NDArray[np.uint8]:
    prefix, _, content = address.partition(",")
    assert prefix == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def run_with(
    folder: Path, *, images: NDArray[np.uint8], num_classes: int, filters: NDArray[np.float32]
) -> list[Entry]:
    """A run of one model that kept samples, predictions and weights."""
    names = tuple(f"class {i}" for i in range(num_classes))
    whole = record(ZOO[0], data=data_info(class_names=names, superclass_names=(), superclass_of=()))
    write_run(folder, [whole], with_predictions=False)
    cell = folder / "cells" / whole.cell
    answers = predictions(whole)
    top5 = np.stack(
        [(answers["predicted"] + i) % num_classes for i in range(min(5, num_classes))], axis=1
    )
    np.savez_compressed(cell / "predictions.npz", top5=top5, **answers)
    np.savez_compressed(cell / "samples.npz", index=np.arange(len(images)) * 7, image=images)
    save_file({"conv1.weight": filters}, cell / "model.safetensors")
    return entries_of(read_source([folder]))


@pytest.mark.parametrize(("channels", "num_classes"), [(3, 100), (1, 10), (3, 3)])
def test_samples_and_filters_are_those_that_were_kept(
    channels: int, num_classes: int, tmp_path: Path
) -> None:
    images = DRAW.integers(0, 256, (5, 28, 28, channels), np.uint8)
    filters = DRAW.normal(size=(6, channels, 5, 5)).astype(np.float32)
    entries = run_with(tmp_path / "run", images=images, num_classes=num_classes, filters=filters)
    order = {entries[0].key: 0}
    samples = samples_of(entries, order)
    assert len(samples) == 5
    for image, sample in zip(images, samples, strict=True):
        assert np.array_equal(decoded(sample["image"]), image if channels == 3 else image[..., 0])
        assert len(sample["answers"][0]) == min(5, num_classes)
    held: dict[str, Any] = filters_of(entries, order)[0]
    assert (held["count"], held["size"]) == (6, 5)
    first = decoded(held["image"])[:5, :5].astype(float)
    kernel = filters[0].transpose(1, 2, 0)
    stretched = 255 * (kernel - kernel.min()) / (kernel.max() - kernel.min())
    assert first == pytest.approx(np.broadcast_to(stretched, first.shape), abs=1)


def test_torn_pictures_are_left_out(tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (5, 8, 8, 3), np.uint8)
    filters = np.zeros((6, 3, 5, 5), np.float32)
    entries = run_with(tmp_path / "run", images=images, num_classes=100, filters=filters)
    for name in ("samples.npz", "model.safetensors"):
        (entries[0].cells[0].folder / name).write_bytes(b"PK torn")
    assert samples_of(entries, {entries[0].key: 0}) == []
    assert filters_of(entries, {entries[0].key: 0}) == {}
