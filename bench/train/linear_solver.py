"""Linear classifiers by convex problems: support vectors by squared hinge, and ridge regression.

One against the rest, as scikit-learn's LinearSVC and RidgeClassifier have it, but all classes at
once: they share their features, and so each product with them. Features are centred and divided by
their deviations, which is folded into the weights in the end. Strengths are of the mean loss:
LinearSVC's C is 1 / (2 N strength), RidgeClassifier's alpha is N strength.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from torch import Tensor, nn

from bench.train.solver import (
    STRENGTHS,
    Features,
    KeptFeatures,
    count_right,
    find_scale,
    write_linear,
)

MOST_FALLS = 2  # of the validation accuracy in a row: weaker strengths only fit the noise better
# Of the mean deviation: a feature that hardly ever changes isn't blown up to be as loud as others.
LEAST_DEVIATION = 0.01
# Largest entry of the gradient, in units in which the curvature is about 1: to choose a strength,
# and of the classifier that is kept.
COARSE, FINE = 3e-3, 3e-4
MOST_STEPS = 100
HISTORY = 20
# Of memory at its peak: matrices of the features' products, and bytes an image and class, which
# vary from run to run (12 to 73 were measured).
MATRICES = 5
BYTES_A_MARGIN = 60
# Images whose products are added up at once: the sum is as large as all of them together.
ADDED_AT_ONCE = 2048


@dataclass(frozen=True)
class _Scaling:
    """What features are centred by and divided by, both (F,)."""

    mean: Tensor
    deviation: Tensor

    def apply(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.deviation

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (K, F) and biases of raw features that give the same scores."""
        raw = weight / self.deviation
        return raw, bias - raw @ self.mean


def _make_scaling(mean: Tensor, variance: Tensor) -> _Scaling:
    deviation = variance.clamp(min=0).sqrt()
    # All alike is no information; anything but 0 may divide it.
    least = (LEAST_DEVIATION * deviation.mean()).clamp(min=1e-12)
    return _Scaling(mean, deviation + least)


@dataclass
class _Choice:
    """The strengths that were tried, and the weights of the one that is right most often."""

    validation: Features
    accuracies: dict[float, float] = field(default_factory=dict)
    best: tuple[Tensor, Tensor] = field(default_factory=lambda: (torch.empty(0), torch.empty(0)))
    num_falls: int = 0
    refined: float | None = None  # the strength whose weights have been refined

    @property
    def strength(self) -> float:
        """Return the best strength; of two that are as good the stronger one, which came first.

        ValueError where not even the strongest could be solved.
        """
        if self.refined is not None:
            return self.refined
        if not self.accuracies:
            raise ValueError("the features aren't finite")
        return max(self.accuracies, key=lambda strength: self.accuracies[strength])

    def judge(self, strength: float, weight: Tensor, bias: Tensor) -> None:
        """Try weights (K, F) and biases on the validation features."""
        accuracy = self._count_right(weight, bias)
        is_best = accuracy > max(self.accuracies.values(), default=-1.0)
        self.accuracies[strength] = accuracy
        if is_best:
            self.best = weight, bias
        # As many right as before is no fall: of few validation images it is likely.
        has_fallen = accuracy < max(self.accuracies.values())
        self.num_falls = self.num_falls + 1 if has_fallen else 0

    def refine(self, weight: Tensor, bias: Tensor) -> None:
        """Take better weights of the best strength, and the accuracy that they have."""
        self.refined = self.strength
        self.best = weight, bias
        self.accuracies[self.refined] = self._count_right(weight, bias)

    def _count_right(self, weight: Tensor, bias: Tensor) -> float:
        return count_right(self.validation.rows @ weight.T + bias, self.validation.labels)

    def conclude(self, scaling: _Scaling, layer: nn.Linear) -> dict[str, JsonValue]:
        """Write the best weights into a layer; return what was found."""
        strength = self.strength
        weight, bias = self.best
        scale = find_scale(self.validation.rows @ weight.T + bias, self.validation.labels)
        write_linear(layer, *scaling.fold(scale * weight, scale * bias))
        tried: dict[str, JsonValue] = {f"{one:g}": top1 for one, top1 in self.accuracies.items()}
        return {"strength": strength, "validation_top1": tried, "scale": scale}


class SupportVectors(KeptFeatures):
    """A linear support vector machine: the mean squared hinge loss, L2 on the weights."""

    def __init__(self, layer: nn.Linear, num_images: int, seed: int) -> None:
        super().__init__(layer.in_features, num_images, layer.weight.device)
        self.layer = layer

    @staticmethod
    def count_bytes(layer: nn.Linear, num_images: int) -> int:
        """Return about how much memory it takes.

        The features, matrices of their products, and the margins of all images and classes in the
        forms that a step and its gradient have of them.
        """
        features = 4 * num_images * layer.in_features + MATRICES * 8 * layer.in_features**2
        return features + BYTES_A_MARGIN * num_images * layer.out_features

    def solve(self, validation: Features, check: Callable[[], None]) -> dict[str, JsonValue]:
        """Fit by every strength, from strong to weak, and keep the best on validation."""
        scaling = _make_scaling(self.rows.mean(dim=0), self.rows.var(dim=0))
        # In place: there may be no room for them twice.
        self.rows.sub_(scaling.mean).div_(scaling.deviation)
        covariance = (self.rows.T @ self.rows / len(self.rows)).double()
        choice = _Choice(Features(scaling.apply(validation.rows), validation.labels))
        weight = self.rows.new_zeros(self.layer.out_features, self.layer.in_features)
        bias = self.rows.new_zeros(self.layer.out_features)
        train = Features(self.rows, self.labels)
        solve = partial(solve_squared_hinge, train, covariance, check=check)
        for strength in STRENGTHS:
            try:
                weight, bias = solve(strength, (weight, bias), tolerance=COARSE)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                break  # more features than images: products in float32 carry nothing weaker
            choice.judge(strength, weight, bias)
            if choice.num_falls == MOST_FALLS:
                break
        choice.refine(*solve(choice.strength, choice.best, tolerance=FINE))
        return choice.conclude(scaling, self.layer)


def solve_squared_hinge(
    train: Features,
    covariance: Tensor,
    strength: float,
    start: tuple[Tensor, Tensor],
    *,
    tolerance: float = FINE,
    check: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Minimise the mean squared hinge loss and `strength` times the squared norm of the weights.

    `train` is of centred features, `covariance` (F, F) theirs in double precision; `start` and what
    is returned are weights (K, F) and biases (K,), which aren't penalised.
    """
    rows = train.rows
    weight, bias = start
    # Classes by images, as the weights' gradient is: of few classes its transpose takes BLAS ten
    # times as long, and autograd asks for that wherever the weights lie by columns.
    signs = (2 * F.one_hot(train.labels, len(bias)).to(rows.dtype) - 1).T.contiguous()
    # Of all images within their margin the loss is a regression's, whose curvature all classes
    # share. In units of its root they are nearly round, and some twenty steps are enough to choose
    # a strength.
    curvature = covariance + strength * torch.eye(len(covariance), device=rows.device)
    root = torch.linalg.cholesky(curvature).to(rows.dtype)
    inner = (weight @ root).requires_grad_()
    inner_bias = bias.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [inner, inner_bias],
        max_iter=MOST_STEPS,
        tolerance_grad=tolerance,
        tolerance_change=0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def undo() -> Tensor:
        # weight @ root = inner, for a lower triangle.
        outer: Tensor = torch.linalg.solve_triangular(root, inner, upper=False, left=False)
        return outer.contiguous()

    def objective() -> Tensor:
        check()
        solver.zero_grad()
        outer = undo()
        margins = 1 - signs * (outer @ rows.T + inner_bias[:, None])
        loss = margins.clamp(min=0).square().sum() / len(rows) + strength * outer.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(objective)  # type: ignore[no-untyped-call]
    return undo().detach(), inner_bias.detach()


class Ridge:
    """Regression on +1 for an image's class and -1 for the others, L2 on the weights.

    It keeps sums of products alone, however many images there are: of features from which the first
    block's mean is taken off, since small variances are lost in the products of large numbers.
    """

    def __init__(self, layer: nn.Linear, num_images: int, seed: int) -> None:
        self.layer = layer
        device, num_features = layer.weight.device, layer.in_features
        self.num_images = torch.zeros(1, dtype=torch.long, device=device)
        self.origin = torch.zeros(num_features, device=device)
        self.products = torch.zeros(num_features, num_features, dtype=torch.double, device=device)
        # By class, and so of all images too.
        self.sums = torch.zeros(layer.out_features, num_features, dtype=torch.double, device=device)
        self.counts = torch.zeros(layer.out_features, dtype=torch.double, device=device)
        self.waiting: list[Tensor] = []  # blocks whose products aren't added yet

    @staticmethod
    def count_bytes(layer: nn.Linear, num_images: int) -> int:
        """Return about how much memory it takes: matrices of the features' products."""
        return MATRICES * 8 * layer.in_features**2

    def take(self, block: Features) -> None:
        """Add up the products of the next training images."""
        if not self.num_images:
            self.origin.copy_(block.rows.mean(dim=0))
        self.num_images += len(block.rows)
        self.waiting.append(block.rows)
        if sum(map(len, self.waiting)) >= ADDED_AT_ONCE:
            self._add_products()
        self.sums.index_add_(0, block.labels, block.rows.double())
        self.counts += torch.bincount(block.labels, minlength=len(self.counts))

    def _add_products(self) -> None:
        if self.waiting:
            # In float32 for a few blocks, which are as exact as that, then in double precision.
            rows = torch.cat(self.waiting) - self.origin
            self.products += rows.T @ rows
            self.waiting.clear()

    def state(self) -> dict[str, Tensor]:
        """Return the sums."""
        self._add_products()
        return {
            "num_images": self.num_images,
            "origin": self.origin,
            "products": self.products,
            "sums": self.sums,
            "counts": self.counts,
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take sums that were kept."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def solve(self, validation: Features, check: Callable[[], None]) -> dict[str, JsonValue]:
        """Fit by every strength, from strong to weak, and keep the best on validation."""
        self._add_products()
        num_images = float(self.num_images)
        mean = self.sums.sum(dim=0) / num_images
        away = mean - self.origin
        covariance = self.products.div_(num_images).addr_(away, away, alpha=-1)
        scaling = _make_scaling(mean, covariance.diagonal())
        covariance.div_(scaling.deviation).div_(scaling.deviation[:, None])
        # Targets are 2 one-hot - 1; of centred features only the first part counts.
        shares = self.counts / num_images
        slopes = 2 * (self.sums / num_images - shares[:, None] * mean) / scaling.deviation
        bias = (2 * shares - 1).float()
        choice = _Choice(Features(scaling.apply(validation.rows).float(), validation.labels))
        for strength in STRENGTHS:
            check()
            penalised = covariance.clone()
            penalised.diagonal().add_(strength)
            root, fault = torch.linalg.cholesky_ex(penalised)
            if fault:
                break  # more features than images: sums in float32 carry nothing weaker
            weight = torch.cholesky_solve(slopes.T, root).T
            choice.judge(strength, weight.float(), bias)
            if choice.num_falls == MOST_FALLS:
                break
        return choice.conclude(scaling, self.layer)
