"""Whether a cell's predictions are those that its record counts, and its scores lead to."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.array_file import UNREADABLE
from bench.results.look import FILE, read_look
from bench.results.record import Accuracy, CellKey, RunRecord
from bench.results.reliability import brier_scores, conformal_sets, image_losses

MOST_CONFIDENCE = 1.00001  # float32 probabilities are 1 within their rounding
LOSS_ROUNDING = 1e-3  # of a loss that two bytes hold: 1 / 2048 of itself at most
LARGEST_LOSS = float(np.finfo(np.float16).max)  # that two bytes hold: larger ones are kept as this
NEEDED = ("label", "predicted", "confidence", "top5")


def prediction_faults(record: RunRecord, accuracy: Accuracy, folder: Path) -> Iterator[str]:
    """Count the predictions again, and yield a line for each fault."""
    try:
        said = _read_arrays(folder / "predictions.npz")
        label, predicted, confidence, top5 = (said[name] for name in NEEDED)
    except UNREADABLE as error:
        yield f"predictions.npz can't be read ({error})"
        return
    if {len(array) for array in said.values()} != {record.data.num_test}:
        yield f"predictions.npz is not of {record.data.num_test} images"
        return
    if int((predicted == label).sum()) != accuracy.num_top1:
        yield "top-1 is not that of the predictions"
    if int((top5 == label[:, None]).any(axis=1).sum()) != accuracy.num_top5:
        yield "top-5 is not that of the predictions"
    if (top5[:, 0] != predicted).any():
        yield "predicted classes are not the likeliest ones"
    if not ((confidence > 0) & (confidence <= MOST_CONFIDENCE)).all():
        yield "a confidence lies outside 0 to 1"
    if label.min() < 0 or max(label.max(), top5.max()) >= len(record.data.class_names):
        yield "a class is out of range"
        return
    if ("row" in said) != (record.fold is not None):
        yield "says which rows its images are without a fold, or has one and doesn't"
    # Older versions wrote none of these.
    if "loss" in said and not _agrees(said["loss"], accuracy.loss):
        yield "the loss is not that of the predictions"
    # Published runs leave the scores out.
    if (folder / "scores.npz").exists():
        yield from _score_faults(said, folder / "scores.npz")


def _agrees(losses: NDArray[np.float32], mean: float) -> bool:
    """Return whether images' losses (N,), as they are kept, have this mean."""
    found = float(losses.mean(dtype=np.float64))
    # Of a model that ran away the mean is of larger losses than those that are kept.
    if losses.max() >= LARGEST_LOSS:
        return mean >= found * (1 - LOSS_ROUNDING)
    return bool(np.isclose(found, mean, rtol=LOSS_ROUNDING))


def double_faults(record: RunRecord, folder: Path) -> Iterator[str]:
    """Check that the test images with a double are those of the run's look at its data."""
    path = folder.parents[1] / FILE
    try:
        said = _read_arrays(folder / "predictions.npz").get("has_double")
        # Older versions wrote neither, and the stand-in is not looked at.
        if said is None and not path.exists():
            return
        look = read_look(path)
    except UNREADABLE as error:
        yield f"the look at the data can't be read ({error})"
        return
    if look.checksum != record.data.checksum:
        yield f"{FILE} is of other data"
    num_test = record.data.num_test
    if said is None and look.test.num_images != num_test:
        return
    if said is None or not np.array_equal(said, look.has_double(num_test)):
        yield f"has_double in predictions.npz is not what {FILE} says"


def fold_faults(cells: Mapping[CellKey, Path], num_folds: int) -> Iterator[str]:
    """Check that the folds of each model and seed test every image once; `cells` are finished."""
    folders: dict[CellKey, list[Path]] = {}
    for key, folder in cells.items():
        folders.setdefault(key._replace(fold=None), []).append(folder)
    for key, found in folders.items():
        if len(found) < num_folds:
            continue
        try:
            rows = np.concatenate([_read_arrays(each / "predictions.npz")["row"] for each in found])
        except UNREADABLE as error:
            yield f"{key}: the rows of its folds can't be read ({error})"
            continue
        if not np.array_equal(np.sort(rows), np.arange(len(rows))):
            yield f"{key}: its folds don't test every image once"


def _score_faults(said: dict[str, NDArray[Any]], path: Path) -> Iterator[str]:
    """Work out again what the predictions have from the scores."""
    try:
        scores = _read_arrays(path)
        log_probabilities = scores["log_probabilities"]
        expected: dict[str, NDArray[Any]] = {
            "loss": image_losses(log_probabilities, said["label"]),
            "brier": brier_scores(log_probabilities, said["label"]),
        }
        if "validation_label" in scores:
            calibration = image_losses(
                scores["validation_log_probabilities"], scores["validation_label"]
            )
            sets = conformal_sets(log_probabilities, said["label"], calibration)
            expected |= {"set_size": sets.size, "in_set": sets.has_label}
        wrong = [name for name, array in expected.items() if not _agree(said[name], array)]
    except UNREADABLE as error:
        yield f"scores.npz can't be read, or isn't of these images ({error})"
        return
    for name in wrong:
        yield f"{name} in predictions.npz is not what scores.npz leads to"


def _agree(a: NDArray[Any], b: NDArray[Any]) -> bool:
    # Another processor's exponential may round its last digit otherwise.
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
