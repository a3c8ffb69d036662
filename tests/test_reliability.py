"""What probabilities say image by image.

Oracles: torch's cross entropy, scikit-learn's definition of the Brier score written out, the
distribution of conformal coverage (Vovk 2012, proposition 2b), and models whose calibration is
known since their labels are drawn from their own probabilities.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats

from bench.results.reliability import brier_scores, conformal_sets, image_losses

Floats = NDArray[np.floating]


def draw_model(n: int, classes: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draw log-probabilities (n, classes), and labels from these very probabilities."""
    draw = np.random.default_rng(seed)
    scores = torch.from_numpy(2 * draw.normal(size=(n, classes)))
    log_probabilities = F.log_softmax(scores, dim=1).numpy()
    below = np.cumsum(np.exp(log_probabilities), axis=1)
    label = (draw.random((n, 1)) * below[:, -1:] > below).sum(axis=1)
    return log_probabilities, label


def test_losses_and_brier_scores_are_those_of_their_definitions() -> None:
    log_probabilities, label = draw_model(5_000, 7, 0)
    expected = F.nll_loss(
        torch.from_numpy(log_probabilities), torch.from_numpy(label), reduction="none"
    )
    np.testing.assert_allclose(image_losses(log_probabilities, label), expected, rtol=1e-6)
    distance = np.exp(log_probabilities) - np.eye(7)[label]
    np.testing.assert_allclose(
        brier_scores(log_probabilities, label), (distance**2).sum(axis=1), rtol=1e-4, atol=1e-6
    )


def test_two_bytes_a_class_cost_a_mean_less_than_a_ten_thousandth() -> None:
    log_probabilities, label = draw_model(10_000, 100, 1)
    rounded = log_probabilities.astype(np.float16)
    exact = image_losses(log_probabilities, label)
    # Half the distance between two numbers of eleven binary digits.
    np.testing.assert_allclose(image_losses(rounded, label), exact, rtol=2.0**-11)
    for statistic in (image_losses, brier_scores):
        mean = statistic(log_probabilities, label).mean()
        assert statistic(rounded, label).mean() == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("n", [9, 19, 100, 499])
def test_conformal_sets_hold_the_true_class_as_often_as_theory_says(n: int) -> None:
    repeats, num_test = 800, 400
    log_probabilities, label = draw_model(repeats * (n + num_test) // 20, 6, n)
    draw = np.random.default_rng(n)
    covered = np.empty(repeats)
    for i in range(repeats):
        rows = draw.choice(len(label), n + num_test, replace=False)
        calibration, test = rows[:n], rows[n:]
        losses = image_losses(log_probabilities[calibration], label[calibration])
        covered[i] = conformal_sets(log_probabilities[test], label[test], losses).has_label.mean()
    # The k-th of n + 1 uniform draws is Beta(k, n + 1 - k): its mean is k / (n + 1).
    k = int(np.ceil(round(0.9 * (n + 1), 9)))
    coverage = stats.beta(k, n + 1 - k) if k <= n else stats.uniform(1, 1e-9)
    binomial = coverage.mean() * (1 - coverage.mean()) / num_test
    error = np.sqrt((coverage.var() + binomial) / repeats)
    assert abs(covered.mean() - coverage.mean()) < 4 * error
    assert coverage.mean() >= 0.9


def test_sets_are_counted_by_class_and_too_few_images_exclude_none() -> None:
    shares = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.34, 0.33, 0.33]])
    label = np.array([0, 1, 2])
    calibration = -np.log(np.full(20, 0.4))
    sets = conformal_sets(shares, label, calibration.astype(np.float32))
    assert sets.size.tolist() == [1, 2, 0]
    assert sets.has_label.tolist() == [True, True, False]
    few = conformal_sets(shares, label, calibration[:8])
    assert few.size.tolist() == [3, 3, 3]
    assert few.has_label.all()
