"""What a cell keeps beside its record: what its model says of every image, and some pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Dataset, ImageSet
from bench.data.picture import fit_square
from bench.results.look import DOUBLES, FILE, write_look
from bench.results.reliability import brier_scores, conformal_sets, image_losses
from bench.results.storage import write_arrays
from bench.train.build import Outcome

NUM_SAMPLES = 36  # test images kept beside the predictions
MAX_THUMBNAILS = 600  # about 2 MB of 32 px; a page shows those on which its models disagree
MAX_SIDE = 48  # pixels
MOST_DOUBLES = 4  # pairs that a page shows, about a kilobyte each
DOUBLE_SIDE = 32  # pixels


def write_answers(folder: Path, found: Outcome, data: Dataset) -> None:
    """Write what a model says of every image, and all scores that it's worked out of."""
    # All that is published and all that a report reads: the scores are some 20 times as much.
    predictions, validated = found.predictions, found.validated
    log_probabilities, label = predictions.log_probabilities, predictions.label
    answers: dict[str, NDArray[Any]] = {
        "label": label,
        "predicted": predictions.predicted,
        "confidence": predictions.confidence,
        "top5": predictions.top5,
        "loss": image_losses(log_probabilities, label),
        "brier": brier_scores(log_probabilities, label),
    }
    # A look at a set whose test images are drawn otherwise says nothing of these.
    if data.look is not None and data.look.test.num_images == len(label):
        answers["has_double"] = data.look.has_double(len(label))
    if data.test_indices is not None:
        answers["row"] = data.test_indices
    scores: dict[str, NDArray[Any]] = {"log_probabilities": log_probabilities}
    if validated is not None:
        scores |= {
            "validation_label": validated.label,
            "validation_log_probabilities": validated.log_probabilities,
        }
        calibration = image_losses(validated.log_probabilities, validated.label)
        sets = conformal_sets(log_probabilities, label, calibration)
        answers |= {"set_size": sets.size, "in_set": sets.has_label}
    write_arrays(folder / "predictions.npz", **answers)
    write_arrays(folder / "scores.npz", **scores)


def write_samples(folder: Path, data: Dataset) -> None:
    """Keep a few test images beside the predictions, with their places among those."""
    _, rows = data.rows_of("test")
    index = np.linspace(0, len(rows) - 1, min(NUM_SAMPLES, len(rows))).astype(np.int64)
    write_arrays(folder / "samples.npz", index=index, image=cut_pictures(data, rows[index]))


def write_thumbnails(run: Path, data: Dataset) -> None:
    """Keep small pictures of some test images once a run, with the checksum of the data.

    Of a run with folds those are all images; their indices are rows of the whole set.
    """
    path = run / "thumbnails.npz"
    # All cells of a run see the same data: `--resume` refuses another.
    if path.exists():
        return
    index = spread_over_classes(data.test.labels, MAX_THUMBNAILS)
    images = np.stack([shrink(image) for image in cut_pictures(data, index)])
    write_arrays(path, index=index, image=images, checksum=np.array(data.checksum))


def write_run_look(run: Path, data: Dataset) -> None:
    """Write what was found, and pictures of a few test images beside their doubles in training."""
    look = data.look
    # All cells of a run see the same data: `--resume` refuses another.
    if look is None or (run / FILE).exists():
        return
    copies = look.copies
    num_pairs = len(copies.first)
    chosen = np.linspace(0, num_pairs - 1, min(MOST_DOUBLES, num_pairs)).astype(np.int64)
    if num_pairs:
        sides = []
        for part, rows in ((data.test, copies.first), (data.train, copies.second)):
            images = cut_pictures(data, np.array(rows)[chosen], part)
            sides.append(np.stack([fit_square(image, DOUBLE_SIDE, 3) for image in images]))
        write_arrays(run / DOUBLES, image=np.stack(sides, axis=1))
    write_look(run / FILE, look)


def cut_pictures(
    data: Dataset, index: NDArray[np.int64], part: ImageSet | None = None
) -> NDArray[np.uint8]:
    """Return images (n, size, size, 1 or 3) without the margin that crops are taken from.

    Those of the test set, unless another part of the data is given.
    """
    window = slice(data.margin, data.margin + data.size)
    return np.asarray((part or data.test).images[index][:, window, window])


def spread_over_classes(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the indices of at most so many images, ascending: of each class as many, as far apart.

    Of more classes than that, some have none.
    """
    classes = np.unique(labels)
    quota = max(1, most // max(1, len(classes)))
    chosen = []
    for each in classes:
        members = np.flatnonzero(labels == each)
        chosen.append(members[_spread(len(members), quota)])
    index = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
    return np.asarray(index[_spread(len(index), most)], dtype=np.int64)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a square image (s, s, 1 or 3) of at most MAX_SIDE pixels a side."""
    if len(image) <= MAX_SIDE:
        return image
    # Imported here: images of 32 px need no library.
    from PIL import Image

    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    small = np.asarray(picture.resize((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX))
    return small[..., None] if grey else small
