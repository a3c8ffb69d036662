"""How a fitted model's classifier is fitted to features: what is asked of a solver, and the table.

A solver is given the features of the training images block by block, in the order of the images,
so that one that needs only sums keeps nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from torch import Tensor, nn

# Of the penalty on the weights, from strong to weak.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SCALES = torch.logspace(-2, 2, 161)


class Features(NamedTuple):
    """Features (N, F) float32 and the classes (N,) of their images."""

    rows: Tensor
    labels: Tensor


class Solver(Protocol):
    """Fits one classifier, once."""

    def take(self, block: Features) -> None:
        """Take in the features of the next training images."""

    def state(self) -> dict[str, Tensor]:
        """Return all that it has taken in; `load` goes on from it."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Be as the solver was that gave this state."""

    def solve(self, validation: Features, check: Callable[[], None]) -> dict[str, JsonValue]:
        """Fit the classifier, its strength chosen on validation; return what was found.

        `check` is called every few seconds, and may raise.
        """


class KeptFeatures(ABC):
    """A solver that needs the features of all images at once."""

    def __init__(self, num_features: int, num_images: int, device: torch.device) -> None:
        self.rows = torch.empty(num_images, num_features, device=device)
        self.labels = torch.empty(num_images, dtype=torch.long, device=device)
        self.num_taken = 0

    def take(self, block: Features) -> None:
        """Keep the features of the next training images."""
        place = slice(self.num_taken, self.num_taken + len(block.rows))
        self.rows[place], self.labels[place] = block.rows, block.labels
        self.num_taken = place.stop

    def state(self) -> dict[str, Tensor]:
        """Return the features."""
        return {"rows": self.rows, "labels": self.labels}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take features that were kept, as they are: there may be no room for them twice."""
        device = self.rows.device
        self.rows, self.labels = state["rows"].to(device), state["labels"].to(device)
        self.num_taken = len(self.rows)

    @abstractmethod
    def solve(self, validation: Features, check: Callable[[], None]) -> dict[str, JsonValue]:
        """Fit the classifier; return what was found."""


def count_right(scores: Tensor, labels: Tensor) -> float:
    """Return the percentage of images whose highest score (N, K) is that of their class (N,)."""
    return 100 * float((scores.argmax(dim=1) == labels).double().mean())


def find_scale(scores: Tensor, labels: Tensor) -> float:
    """Return what scores are multiplied by, so that their softmax has the lowest loss.

    A margin is no probability; one number, chosen on validation, makes it as good a one as it can
    be without changing who wins (temperature scaling: Guo et al. 2017, section 4.2).
    """
    losses = [float(F.cross_entropy(scale * scores, labels)) for scale in SCALES.tolist()]
    return float(SCALES[losses.index(min(losses))])


def write_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Put fitted weights (K, F) and biases (K,) into a linear layer."""
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
