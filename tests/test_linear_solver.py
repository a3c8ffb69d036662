"""Linear classifiers fitted once. Oracles: scikit-learn's LinearSVC and RidgeClassifier."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge as LinearRegression
from sklearn.svm import LinearSVC
from torch import nn

from bench.train.linear_solver import (
    Ridge,
    SupportVectors,
    solve_squared_hinge,
)
from bench.train.solver import STRENGTHS, Features, count_right, find_scale
from tests.support.processes import ROOT

NUM_CLASSES, NUM_FEATURES = 4, 6


def draw_features(num: int, seed: int) -> Features:
    """Overlapping classes; features of several scales, off the origin, and one that is fixed."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (num,), generator=generator)
    means = 0.7 * torch.randn(NUM_CLASSES, NUM_FEATURES, generator=torch.Generator().manual_seed(9))
    rows = means[labels] + torch.randn(num, NUM_FEATURES, generator=generator)
    scales = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 0.0])
    return Features(rows * scales + torch.arange(6.0), labels)


def test_the_squared_hinge_is_scikit_learns() -> None:
    train = draw_features(400, 0)
    rows = train.rows[:, :5] - train.rows[:, :5].mean(0)
    strength = 0.01
    start = torch.zeros(NUM_CLASSES, 5), torch.zeros(NUM_CLASSES)
    covariance = (rows.T @ rows / len(rows)).double()
    weight, bias = solve_squared_hinge(
        Features(rows, train.labels), covariance, strength, start, tolerance=1e-7
    )
    # Its bias is penalised like a weight, of an input this large: hardly at all.
    reference = LinearSVC(
        C=1 / (2 * len(rows) * strength), dual=False, intercept_scaling=1e3, tol=1e-7
    ).fit(rows.double().numpy(), train.labels.numpy())
    assert weight.numpy() == pytest.approx(reference.coef_, abs=1e-4)
    assert bias.numpy() == pytest.approx(reference.intercept_, abs=1e-4)


@pytest.mark.parametrize("kind", [SupportVectors, Ridge])
def test_strength_is_chosen_on_validation_and_scaling_is_folded_in(
    kind: type[SupportVectors] | type[Ridge],
) -> None:
    train, held = draw_features(600, 0), draw_features(300, 1)
    layer = nn.Linear(NUM_FEATURES, NUM_CLASSES).requires_grad_(False)
    solver = kind(layer, 600, 0)
    for rows, labels in zip(train.rows.split(250), train.labels.split(250), strict=True):
        solver.take(Features(rows.clone(), labels))
    found = solver.solve(held, lambda: None)
    tried = found["validation_top1"]
    assert isinstance(tried, dict)
    best = tried[f"{found['strength']:g}"]
    # Refined weights may be right on an image less than they were when they were chosen.
    assert best >= max(tried.values()) - 100 / 300
    # The layer reads features as they come.
    assert count_right(layer(held.rows), held.labels) == pytest.approx(best, abs=1e-9)
    assert best > 50


PEAK = """
import sys, torch
from torch import nn
import bench.train.linear_solver as linear
torch.set_num_threads(1)
kind, num_images, width, classes = getattr(linear, sys.argv[1]), *map(int, sys.argv[2:])
linear.STRENGTHS = (0.1,)
rows, labels = torch.randn(num_images, width), torch.arange(num_images) % classes
layer = nn.Linear(width, classes).requires_grad_(False)
solver = kind(layer, num_images, 0)
with torch.no_grad():
    for part in torch.arange(num_images).split(500):
        solver.take(linear.Features(rows[part], labels[part]))
    solver.solve(linear.Features(rows[:500], labels[:500]), lambda: None)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]) - rows.nbytes, kind.count_bytes(layer, num_images))
"""


@pytest.mark.parametrize(
    ("kind", "small", "large"),
    [
        ("SupportVectors", "1500 500 5", "1500 2500 5"),
        ("Ridge", "1500 500 5", "1500 2500 5"),
    ],
)
def test_memory_grows_as_it_is_said_to(kind: str, small: str, large: str) -> None:
    """Measured in processes of their own, less what any of them takes."""

    def measure(sizes: str) -> Sequence[int]:
        words = [sys.executable, "-c", PEAK, kind, *sizes.split()]
        done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
        return [int(word) for word in done.stdout.split()]

    (peak_small, said_small), (peak_large, said_large) = measure(small), measure(large)
    assert said_large - said_small == pytest.approx(peak_large - peak_small, rel=0.5)


def test_ridge_is_scikit_learns() -> None:
    train, held = draw_features(600, 0), draw_features(300, 1)
    layer = nn.Linear(NUM_FEATURES, NUM_CLASSES).requires_grad_(False)
    solver = Ridge(layer, 600, 0)
    solver.take(train)
    found = solver.solve(held, lambda: None)
    strength, scale = found["strength"], found["scale"]
    assert isinstance(strength, float)
    assert isinstance(scale, float)
    mean, deviation = train.rows.mean(0), train.rows.std(0, correction=0)
    deviation = deviation + 0.01 * deviation.mean()
    targets = 2 * F.one_hot(train.labels, NUM_CLASSES).double().numpy() - 1
    reference = LinearRegression(alpha=600 * strength).fit(
        ((train.rows - mean) / deviation).double().numpy(), targets
    )
    expected = reference.predict(((held.rows - mean) / deviation).double().numpy())
    assert layer(held.rows).numpy() / scale == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", [SupportVectors, Ridge])
def test_a_solver_goes_on_from_its_state(kind: type[SupportVectors] | type[Ridge]) -> None:
    train, held = draw_features(200, 0), draw_features(100, 1)
    layers = [nn.Linear(NUM_FEATURES, NUM_CLASSES).requires_grad_(False) for _ in range(2)]
    first, second = (kind(layer, 200, 0) for layer in layers)
    first.take(train)
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    assert first.solve(held, lambda: None) == second.solve(held, lambda: None)
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_strengths_go_from_strong_to_weak() -> None:
    assert list(STRENGTHS) == sorted(STRENGTHS, reverse=True)


def test_scores_are_scaled_to_the_lowest_loss() -> None:
    """Labels drawn from the softmax of 3 times the scores: 3 is what is found."""
    generator = np.random.default_rng(0)
    scores = torch.from_numpy(generator.normal(size=(20_000, 3))).float()
    draws = generator.random((20_000, 1))
    chances = (3 * scores).softmax(1).cumsum(1).numpy()
    labels = torch.from_numpy((draws > chances).sum(1)).clamp(max=2)
    assert find_scale(scores, labels) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("kind", [SupportVectors, Ridge])
def test_more_features_than_images_end_the_search_where_sums_carry_no_more(
    kind: type[SupportVectors] | type[Ridge],
) -> None:
    """Every strength is as good on validation, so that none but this ends the search."""
    generator = torch.Generator().manual_seed(0)
    rows = 30 + torch.randn(60, 400, generator=generator)
    labels = torch.arange(60) % 3
    layer = nn.Linear(400, 3).requires_grad_(False)
    solver = kind(layer, 60, 0)
    solver.take(Features(rows, labels))
    found = solver.solve(Features(rows, labels), lambda: None)
    assert isinstance(found["validation_top1"], dict)
    assert found["validation_top1"]["1"] == 100
    assert layer.weight.isfinite().all()


@pytest.mark.parametrize("kind", [SupportVectors, Ridge])
def test_where_features_lie_changes_nothing(
    kind: type[SupportVectors] | type[Ridge],
) -> None:
    """Products of features at 1,000 hold 0.06 at their last digit; these vary by 1, and one not."""
    train, held = draw_features(600, 0), draw_features(300, 1)
    scores = []
    for origin in (0, 1000):
        layer = nn.Linear(NUM_FEATURES, NUM_CLASSES).requires_grad_(False)
        solver = kind(layer, 600, 0)
        for start in range(0, 600, 64):
            part = slice(start, start + 64)
            solver.take(Features(train.rows[part] + origin, train.labels[part]))
        solver.solve(Features(held.rows + origin, held.labels), lambda: None)
        scores.append(layer(held.rows + origin))
    assert torch.allclose(*scores, atol=0.01)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_features_that_are_no_numbers_are_refused_in_one_line(value: float) -> None:
    rows = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    rows[3, 5] = value
    solver = Ridge(nn.Linear(8, 3).requires_grad_(False), 60, 0)
    train = Features(rows, torch.arange(60) % 3)
    solver.take(train)
    with pytest.raises(ValueError, match="the features aren't finite"):
        solver.solve(train, lambda: None)
