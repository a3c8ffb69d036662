"""A radial basis kernel as features, by landmarks (Nyström: Williams, Seeger 2001)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.encoding import reserve

LEAST_EIGENVALUE = 1e-6  # of the landmarks' kernel, whose diagonal is 1
LEAST_DEVIATION = 1e-6  # of a feature that isn't the same in all landmarks


class KernelMap(nn.Module):
    """Features whose products are the kernel: (N, F) to (N, num_landmarks).

    The kernel is exp(-gamma d^2 / F), of features that are centred and divided by their deviations;
    a `gamma` of 1 is what scikit-learn calls gamma="scale". Products are exact for landmarks, and
    approximate between others: with all training images as landmarks they are the kernel's.

    With `keep` the given features come first, (N, F + num_landmarks): what few landmarks can't tell
    apart is still there.
    """

    def __init__(
        self, num_features: int, num_landmarks: int, *, gamma: float = 1.0, keep: bool = False
    ) -> None:
        super().__init__()
        self.num_landmarks, self.gamma, self.keep = num_landmarks, gamma, keep
        self.num_outputs = num_landmarks + (num_features if keep else 0)
        self.mean = reserve(num_features)
        self.deviation = reserve(num_features)
        self.landmarks = reserve(num_landmarks, num_features)
        self.root = reserve(num_landmarks, num_landmarks)

    def count_bytes(self) -> int:
        """Return about how much memory learning it takes: landmarks, and products of theirs."""
        return 3 * 4 * self.landmarks.numel() + 4 * 8 * self.root.numel()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, F) to (N, num_outputs)."""
        mapped = F.linear(self.compare(self.scale(features)), self.root)
        return torch.cat([features, mapped], dim=1) if self.keep else mapped

    def scale(self, features: Tensor) -> Tensor:
        """Return features (N, F), centred and divided by their deviations."""
        return (features - self.mean) / self.deviation.clamp(min=LEAST_DEVIATION)

    def compare(self, scaled: Tensor) -> Tensor:
        """Return the kernel of scaled features (N, F) and the landmarks, (N, num_landmarks)."""
        # A norm makes no squares of all landmarks in memory first.
        offset = -torch.linalg.vector_norm(self.landmarks, dim=1).square() / 2
        nearness = F.linear(scaled, self.landmarks, offset)
        squared = (scaled.square().sum(dim=1, keepdim=True) - 2 * nearness).clamp(min=0)
        return torch.exp(-self.gamma / scaled.shape[1] * squared)

    @torch.no_grad()
    def see_features(self, features: Tensor) -> None:
        """Take features (num_landmarks, F) of training images as landmarks."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0, correction=0)
        # What is alike in all landmarks isn't blown up where it differs in another image: a single
        # such feature would leave that image near to nothing.
        self.deviation.copy_(torch.where(deviation > LEAST_DEVIATION, deviation, 1.0))
        self.landmarks.copy_(self.scale(features))
        values, axes = torch.linalg.eigh(self.compare(self.landmarks).double())
        root = (axes / values.clamp(min=LEAST_EIGENVALUE).sqrt()) @ axes.T
        self.root.copy_(root)
