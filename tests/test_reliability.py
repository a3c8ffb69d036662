"""What probabilities say image by image.

Oracles: torch's cross entropy, the Brier score's definition written out, torchmetrics' debiased
calibration error, scipy's paired t-test, the distribution of conformal coverage (Vovk 2012,
proposition 2b), and models whose calibration is known since their labels are drawn with it.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torchmetrics.functional.classification.calibration_error import _ce_compute

from bench.results.image_interval import mean_difference
from bench.results.reliability import (
    brier_scores,
    calibration_scores,
    conformal_sets,
    difference,
    estimate,
    image_losses,
    image_scores,
    selective_scores,
)
from reports.runs import read_source
from reports.view import build_view
from tests.support.record_factory import ZOO, record, write_run

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


def draw_answers(n: int, excess: float, seed: int) -> tuple[Floats, Floats]:
    """Draw confidences in percent, and right or not where all are `excess` points too sure."""
    draw = np.random.default_rng(seed)
    confidence = 30 + 70 * draw.beta(3, 2, size=n)
    return confidence, 100.0 * (100 * draw.random(n) < confidence - excess)


def test_the_calibration_error_is_torchmetrics_where_a_bin_has_one_confidence() -> None:
    draw = np.random.default_rng(2)
    confidence = np.repeat((np.arange(15) + 0.5) / 15, 200)
    right = (draw.random(3_000) < confidence**1.3).astype(np.float64)
    expected = _ce_compute(
        torch.from_numpy(confidence), torch.from_numpy(right), 15, norm="l2", debias=True
    )
    mixed = draw.permutation(3_000)
    scores = calibration_scores(100 * confidence[mixed], 100 * right[mixed])
    assert estimate("ece", scores[None]).value == pytest.approx(100 * float(expected), rel=1e-9)


@pytest.mark.parametrize("excess", [0.0, 2.0, 6.0])
def test_the_calibration_error_is_unbiased_and_its_interval_holds(excess: float) -> None:
    squares, held = [], 0
    for seed in range(300):
        scores = calibration_scores(*draw_answers(2_000, excess, seed))
        squares.append(scores.mean())
        _, low, high = estimate("ece", scores[None])
        held += low <= excess <= high
    error = np.std(squares, ddof=1) / np.sqrt(300)
    assert abs(np.mean(squares) - excess**2) < 4 * error
    assert held >= 300 * 0.93


def test_two_equal_models_are_seldom_told_apart_by_calibration() -> None:
    claims, found = 0, 0
    for seed in range(200):
        confidence, right = draw_answers(2_000, 6.0, seed)
        # The same images, surer and less sure of them: 6 points of error to either side.
        scores = [calibration_scores(confidence - shift, right)[None] for shift in (0, 12, 6)]
        claims += difference("ece", scores[0], scores[1])[1] < 0.05
        (points, low, high), p = difference("ece", scores[0], scores[2])
        found += p < 0.05
        assert (p < 0.05) == (low > 0 or high < 0)
        assert low <= points <= high
    assert claims <= 200 * 0.08
    assert found >= 200 * 0.7


@pytest.mark.parametrize("n", [100, 2_001])
def test_selected_images_are_the_most_confident_and_ties_count_in_part(n: int) -> None:
    draw = np.random.default_rng(n)
    confidence, right = draw.permutation(n) / n, 100.0 * (draw.random(n) < 0.6)
    kept = np.argsort(-confidence)[: int(np.ceil(0.8 * n))]
    assert selective_scores(confidence, right).mean() == pytest.approx(right[kept].mean())
    # Of ties none goes before another: the mean over all orders.
    same = np.full(n, 0.5)
    assert selective_scores(same, right).mean() == pytest.approx(right.mean())


def test_the_interval_of_selected_images_holds() -> None:
    confidence, _ = draw_answers(1_000_000, 0.0, 1)
    truth = np.sort(confidence)[200_000:].mean()
    estimates = []
    for seed in range(400):
        scores = selective_scores(*draw_answers(1_000, 0.0, 10 + seed))
        estimates.append(estimate("top1_at_80_coverage", scores[None]))
    held = sum(low <= truth <= high for _, low, high in estimates)
    assert 400 * 0.92 <= held <= 400 * 0.98


def test_one_seed_each_is_compared_by_the_paired_t_test() -> None:
    draw = np.random.default_rng(5)
    a, b = draw.exponential(size=(2, 1, 500))
    found, p = mean_difference(a, b)
    expected = stats.ttest_rel(a[0], b[0])
    low, high = expected.confidence_interval()
    assert (*found, p) == pytest.approx(((a - b).mean(), low, high, expected.pvalue))
    assert difference("nll", a, b) == (found, p)


def test_columns_are_of_the_arrays_that_are_there() -> None:
    log_probabilities, label = draw_model(500, 7, 3)
    said = {
        "label": label,
        "predicted": log_probabilities.argmax(axis=1),
        "confidence": np.exp(log_probabilities.max(axis=1)),
    }
    assert list(image_scores(said)) == ["ece", "top1_at_80_coverage"]
    said |= {"loss": image_losses(log_probabilities, label), "in_set": label >= 1}
    scores = image_scores(said)
    assert scores["nll"].mean() == pytest.approx(said["loss"].mean())
    assert scores["set_coverage_90"].mean() == 100 * (label >= 1).mean()
    assert image_scores({name: array[:19] for name, array in said.items()}) == {}
    # Nothing but right answers, and nobody can say how often that holds.
    sure = np.full((1, 30), 100.0)
    assert estimate("set_coverage_90", sure) == (100, 100, 100)


def test_the_page_holds_models_against_each_other_by_each_column(tmp_path: Path) -> None:
    animals = ZOO[:3]
    records = [record(animal, seed) for animal in animals for seed in (0, 1)]
    view = build_view(read_source([write_run(tmp_path / "run", records)]))
    first, second, _ = view.largest.entries
    for column, better in (("nll", -1), ("brier", -1), ("ece", -1), ("set_size_90", -1)):
        pair = view.largest_pairs[column][second.key][first.key]
        back = view.largest_pairs[column][first.key][second.key]
        assert pair.value == pytest.approx(
            first.numbers[column].value - second.numbers[column].value
        )
        assert (back.value, back.low, back.high) == (-pair.value, -pair.high, -pair.low)
        if pair.judgement != "undecided":
            assert pair.judgement == ("better" if better * pair.value > 0 else "worse")
    low_loss = min(view.largest.entries, key=lambda entry: entry.numbers["nll"].value)
    judged = [
        pairs[low_loss.key].judgement
        for key, pairs in view.largest_pairs["nll"].items()
        if key != low_loss.key
    ]
    assert judged == ["better", "better"]
    # No direction of coverage is better.
    assert "set_coverage_90" not in view.largest_pairs
    assert first.numbers["set_coverage_90"].low < first.numbers["set_coverage_90"].high
