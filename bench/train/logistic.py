"""Multinomial logistic regression on features: L2 on the weights, solved to a tolerance.

Features are centred and divided by one scale, the root of their mean variance, so that a strength
means the same whatever network made them. The problem is convex: whoever solves it gets the same
classifier.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.train.solver import STRENGTHS

MOST_RISES = 2  # of the validation loss in a row: weaker strengths only fit the noise better
# Largest entry of the gradient, in units in which the curvature is about 1: to choose a strength,
# and of the classifier that is kept. The loss is then within half the squared norm of its least:
# 3e-4 and 3e-11 for 6,400 weights.
COARSE, FINE = 3e-4, 1e-7
MOST_STEPS = 2000
LEAST_CURVATURE = 1e-6
NO_CHANGE = 1e-15  # of the loss: no more can be seen of it
HISTORY = 20


class Classifier(NamedTuple):
    """A linear classifier: scores are `features @ weight.T + bias`; weight (K, D), bias (K,)."""

    weight: Tensor
    bias: Tensor


class Chosen(NamedTuple):
    """The classifier of the best strength, and every strength's validation loss."""

    classifier: Classifier
    strength: float
    losses: dict[float, float]
    train_loss: float


class _Axes(NamedTuple):
    """The principal axes of features: what the solver works in, and how to get there and back.

    `variances` (R,) are those of centred features along `axes` (D, R), R at most N and D, whose
    mean over all D is 1. Neither the loss nor the penalty changes by it, and what lies off the axes
    no solution uses.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor
    variances: Tensor

    def project(self, features: Tensor) -> Tensor:
        return (features.double() - self.mean) / self.scale @ self.axes

    def undo(self, inner: Classifier) -> Classifier:
        """Return the classifier of raw features that gives the same scores."""
        weight = inner.weight @ self.axes.T / self.scale
        return Classifier(weight, inner.bias - weight @ self.mean)


def choose_classifier(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    num_classes: int,
    with_bias: bool = True,
) -> Chosen:
    """Fit a classifier by every strength, and return that of the lowest validation loss.

    `train` and `validation` are features (N, D) and labels (N,). Without a bias features aren't
    centred, and the classifier's bias is 0.
    """
    axes = _find_axes(train[0], centred=with_bias)
    features, labels = axes.project(train[0]), train[1]
    held, expected = axes.project(validation[0]), validation[1]
    # Two digits of a loss choose a strength: half the memory that each step reads.
    rough, held_rough = features.float(), held.float()
    start = Classifier(rough.new_zeros(num_classes, rough.shape[1]), rough.new_zeros(num_classes))
    solutions: dict[float, Classifier] = {}
    losses: dict[float, float] = {}
    num_rises = 0
    for strength in STRENGTHS:
        start = solve(rough, labels, axes.variances.float(), strength, start, COARSE, with_bias)
        before = min(losses.values(), default=torch.inf)
        losses[strength] = float(F.cross_entropy(_score(held_rough, start), expected))
        solutions[strength] = start
        num_rises = num_rises + 1 if losses[strength] >= before else 0
        if num_rises == MOST_RISES:
            break
    best = min(losses, key=lambda strength: losses[strength])
    start = Classifier(*(one.double() for one in solutions[best]))
    inner = solve(features, labels, axes.variances, best, start, FINE, with_bias)
    losses[best] = float(F.cross_entropy(_score(held, inner), expected))
    train_loss = float(F.cross_entropy(_score(features, inner), labels))
    return Chosen(axes.undo(inner), best, losses, train_loss)


def _find_axes(features: Tensor, *, centred: bool) -> _Axes:
    wide = features.double()
    mean = wide.mean(dim=0) if centred else torch.zeros_like(wide[0])
    wide = wide - mean
    # Features that are all alike have no scale, and any does.
    scale = wide.square().mean().sqrt().clamp(min=1e-12)
    variances, axes = torch.linalg.eigh(wide.T @ wide / len(wide) / scale**2)
    rank = min(wide.shape)
    return _Axes(mean, scale, axes[:, -rank:], variances[-rank:].clamp(min=0))


def solve(
    features: Tensor,
    labels: Tensor,
    variances: Tensor,
    strength: float,
    start: Classifier,
    tolerance: float,
    with_bias: bool,
) -> Classifier:
    """Minimise mean cross entropy + strength / 2 * (squared norm of the weights).

    By L-BFGS (Liu and Nocedal 1989) with strong Wolfe conditions. `features` (N, R) lie along their
    principal axes; scikit-learn's C is 1 / (N * strength).
    """
    # The curvature along an axis is about p * (1 - p) * variance + strength: in units of its root
    # all axes are alike, and a few dozen steps do what took hundreds.
    probability = _score(features, start).softmax(dim=1)
    curvature = (probability * (1 - probability)).square().mean().sqrt().clamp(min=LEAST_CURVATURE)
    unit, bias_unit = (curvature * variances + strength).rsqrt(), curvature.rsqrt()
    weight = (start.weight / unit).requires_grad_()
    bias = (start.bias / bias_unit).requires_grad_(with_bias)
    solver = torch.optim.LBFGS(
        [weight, bias] if with_bias else [weight],
        max_iter=MOST_STEPS,
        tolerance_grad=tolerance,
        tolerance_change=NO_CHANGE,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        inner = Classifier(weight * unit, bias * bias_unit)
        loss = F.cross_entropy(_score(features, inner), labels)
        loss = loss + strength / 2 * inner.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(objective)  # type: ignore[no-untyped-call]
    return Classifier((weight * unit).detach(), (bias * bias_unit).detach())


def _score(features: Tensor, classifier: Classifier) -> Tensor:
    return features @ classifier.weight.T + classifier.bias
