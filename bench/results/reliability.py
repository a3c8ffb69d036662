"""How far a model's probabilities can be trusted, from what it said of every test image.

numpy and scipy, no torch. A figure is the mean of numbers of the images (`image_scores`), so that
one interval and one paired test serve them all.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.results.image_interval import (
    mean_difference,
    mean_estimate,
    share_estimate,
    top1_difference,
)
from bench.results.interval import Estimate

MISCOVERAGE = 0.1  # of conformal sets: one in ten leaves out the true class
COVERAGE = 0.8  # the share of images on which a model that may abstain doesn't
NUM_BINS = 15  # of the calibration error
MIN_PER_BIN = 20  # images; fewer bins where they are few
MIN_IMAGES = 20  # below, no interval says anything
NEARBY = 0.025  # of the images, to either side of the least confident one that is kept
SHARES = ("top1_at_80_coverage", "set_coverage_90")  # in percent
UNDOUBLED = "top1_without_doubles"  # in percent, 0 or 100 of an image
ERROR = "ece"  # the column whose numbers are of its square
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
    limit = set_limit(calibration_losses, miscoverage)
    # In the precision of the file: images that tie with the limit are in.
    included = -log_probabilities.astype(np.float32) <= limit
    has_label = image_losses(log_probabilities, label) <= limit
    return ConformalSets(included.sum(axis=1, dtype=np.int32), has_label)


def set_limit(
    calibration_losses: NDArray[np.floating], miscoverage: float = MISCOVERAGE
) -> np.floating:
    """Return the largest loss with which a class is in a conformal set; infinity excludes none."""
    n = len(calibration_losses)
    # In units that a float holds exactly: (n + 1) * 0.9 would be a hair above a whole number.
    k = n + 1 - math.floor(round((n + 1) * miscoverage, 9))
    if k > n:
        return np.float64(np.inf)
    limit: np.floating = np.partition(calibration_losses, k - 1)[k - 1]
    return limit


def image_scores(answers: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return numbers of each image (n,) by column, whose mean is the column's figure.

    `answers` are arrays of `predictions.npz`; a column whose arrays are missing is left out. Of
    `ece`, in percent, the mean is the square (`calibration_scores`). Empty for fewer than
    MIN_IMAGES images.
    """
    if len(answers.get("label", ())) < MIN_IMAGES:
        return {}
    scores = {}
    as_they_are = {"nll": ("loss", 1), "brier": ("brier", 1), "set_size_90": ("set_size", 1)}
    as_they_are["set_coverage_90"] = ("in_set", 100)
    for column, (name, scale) in as_they_are.items():
        if name in answers:
            scores[column] = scale * answers[name].astype(np.float64)
    if "has_double" in answers:
        alone = ~answers["has_double"].astype(bool)
        right = answers["label"] == answers["predicted"]
        if alone.sum() >= MIN_IMAGES:
            scores[UNDOUBLED] = 100.0 * right[alone]
    if "confidence" in answers:
        right = (answers["label"] == answers["predicted"]).astype(np.float64)
        confidence = answers["confidence"].astype(np.float64)
        scores[ERROR] = calibration_scores(100 * confidence, 100 * right)
        scores["top1_at_80_coverage"] = selective_scores(confidence, 100 * right)
    return scores


def calibration_scores(
    confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return numbers (n,) whose mean is the squared calibration error, free of bias.

    The error is the root of the mean squared gap between confidence and accuracy over NUM_BINS bins
    of equally many images. What the gaps would be by chance is taken off (Kumar, Liang and Ma 2019,
    "Verified Uncertainty Calibration", arXiv:1909.10155, section 4), which only the square allows:
    the mean absolute gap of 10,000 images of a perfectly calibrated model is about one point, and
    nothing unbiased can be taken off it. So a mean may be negative. `confidence` and `right` are in
    percent. The variance of the numbers is that of their mean times n, or a little more.
    """
    n = len(right)
    num_bins = max(1, min(NUM_BINS, n // MIN_PER_BIN))
    order = np.argsort(confidence, kind="stable")
    # Kumar's bins hold one confidence each, that of a model calibrated again: theirs is the
    # variance of `right`. Here confidences differ within a bin, and so the gap's own is taken.
    gaps = (right - confidence)[order]
    starts = np.arange(num_bins) * n // num_bins
    counts = np.diff(np.append(starts, n))
    means = np.add.reduceat(gaps, starts) / counts
    each = np.repeat(means, counts)
    variances = np.add.reduceat((gaps - each) ** 2, starts) / (counts - 1) / counts
    # First-order in each image (its influence): the mean over a bin is the squared mean gap.
    numbers = np.empty(n)
    numbers[order] = 2 * each * gaps - each**2 - np.repeat(variances, counts)
    return numbers


def selective_scores(
    confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return numbers (n,) whose mean is the mean of `right` over the COVERAGE most confident.

    That is 1 less the selective risk (Geifman and El-Yaniv 2017, "Selective Classification for Deep
    Neural Networks", arXiv:1705.08500, section 2). Of images as confident as the last one kept,
    each counts in part. The numbers are each image's influence on the figure, the moving of the
    limit included, so that their variance is that of their mean times n.
    """
    n = len(right)
    order = np.argsort(confidence, kind="stable")
    num_dropped = n - math.ceil(COVERAGE * n)
    limit = confidence[order[num_dropped]]
    kept = (confidence > limit).astype(np.float64)
    ties = confidence == limit
    kept[ties] = (n - num_dropped - kept.sum()) / ties.sum()
    share = (n - num_dropped) / n
    reach = max(10, round(NEARBY * n))
    near = order[max(0, num_dropped - reach) : num_dropped + reach]
    at_limit = right[near].mean()
    # A kept image counts by how much better it is than the one that it crowds out.
    return np.asarray(kept * (right - at_limit) / share + at_limit)


def estimate(
    column: str, scores: NDArray[np.float64], folds: NDArray[np.int64] | None = None
) -> Estimate:
    """Return a column's figure with its interval, from the numbers (seeds, n) of `image_scores`.

    `folds` (n,) are those that the images were tested in, where there are any.
    """
    if column == UNDOUBLED:
        num_right = (scores > 0).sum(axis=1)
        return share_estimate([int(right) for right in num_right], scores.shape[1])
    value, low, high = mean_estimate(scores, folds=folds)
    if column == ERROR:
        # Of a square that chance has put below 0 the root is 0.
        return Estimate(*(math.sqrt(max(0.0, square)) for square in (value, low, high)))
    most = 100.0 if column in SHARES else math.inf
    return Estimate(value, max(0.0, low), min(most, high))


def difference(
    column: str,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    folds: NDArray[np.int64] | None = None,
) -> tuple[Estimate, float]:
    """Return how far a column's figure of `a` (seeds, n) is above that of `b`, and its p.

    Of calibration errors x and y the squares are tested, and x - y is (x^2 - y^2) / (x + y): the
    interval is as certain as that of the squares. It is infinite where both are 0.
    """
    if column == UNDOUBLED:
        return top1_difference(a > 0, b > 0)
    found, p = mean_difference(a, b, folds=folds)
    if column != ERROR:
        return found, p
    x, y = (estimate(column, scores).value for scores in (a, b))
    if not x + y:
        return Estimate(0.0, -math.inf, math.inf), 1.0
    low, high = found.low / (x + y), found.high / (x + y)
    # A square below 0 is one in the interval, but 0 in x or y.
    return Estimate(x - y, min(low, x - y), max(high, x - y)), p
