"""How far a model's probabilities can be trusted: what they say image by image. numpy, no torch."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISCOVERAGE = 0.1  # of conformal sets: one in ten leaves out the true class
ROWS_AT_ONCE = 4096  # bounds the memory that thousands of classes take, not the result


class ConformalSets(NamedTuple):
    """The classes that a model can't exclude, of each image: how many, and whether the true one is.

    `size` (N,) counts from 0, for an image of which no class is likely enough.
    """

    size: NDArray[np.int32]
    has_label: NDArray[np.bool_]


def image_losses(
    log_probabilities: NDArray[np.floating], label: NDArray[np.signedinteger]
) -> NDArray[np.float32]:
    """Return each image's cross entropy (N,) from log-probabilities (N, classes)."""
    own = log_probabilities[np.arange(len(label)), label]
    return np.asarray(-own, dtype=np.float32)


def brier_scores(
    log_probabilities: NDArray[np.floating], label: NDArray[np.signedinteger]
) -> NDArray[np.float32]:
    """Return each image's Brier score (N,), 0 to 2, from log-probabilities (N, classes).

    The squared distance of the probabilities from 1 for the true class and 0 for the others,
    summed over the classes (Brier 1950).
    """
    squares = []
    for start in range(0, len(label), ROWS_AT_ONCE):
        part = log_probabilities[start : start + ROWS_AT_ONCE].astype(np.float32)
        squares.append(np.exp(2 * part).sum(axis=1))
    own = np.exp(-image_losses(log_probabilities, label))
    return np.asarray(np.concatenate(squares) - 2 * own + 1, dtype=np.float32)


def conformal_sets(
    log_probabilities: NDArray[np.floating],
    label: NDArray[np.signedinteger],
    calibration_losses: NDArray[np.floating],
    miscoverage: float = MISCOVERAGE,
) -> ConformalSets:
    """Return the sets of images with log-probabilities (N, classes), by split conformal prediction.

    A class is in where its loss is no larger than the k-th of the n `calibration_losses`, those of
    images from the same source that the model wasn't trained on, k = (n + 1) (1 - miscoverage)
    rounded up. Over draws of both, a set has the true class with a probability of at least
    1 - miscoverage (Vovk et al. 2005; Papadopoulos et al. 2002), and of all such sets these are the
    smallest on average (Sadinle et al. 2019, section 2). Too few images to calibrate on, fewer than
    1 / miscoverage - 1, exclude no class.
    """
    n = len(calibration_losses)
    # In units that a float holds exactly: (n + 1) * 0.9 would be a hair above a whole number.
    k = n + 1 - math.floor(round((n + 1) * miscoverage, 9))
    limit = np.partition(calibration_losses, k - 1)[k - 1] if k <= n else np.inf
    # In the precision of the file: images that tie with the limit are in.
    included = -log_probabilities.astype(np.float32) <= limit
    has_label = image_losses(log_probabilities, label) <= limit
    return ConformalSets(included.sum(axis=1, dtype=np.int32), has_label)
