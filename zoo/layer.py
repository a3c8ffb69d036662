"""Layers that torch lacks or is slow at."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LocalResponseNorm(nn.Module):
    """Divide each value by a power of the squares around it in `size` neighbouring channels.

    b = a / (k + alpha / size * sum of a^2)^beta, as `torch.nn.LocalResponseNorm` has it (Krizhevsky et al. 2012,
    section 3.3, where alpha isn't divided by size). With `groups` the channels are cut into that many parts, and no
    window crosses from one into another.
    """

    not_counted = True  # its convolution is a way to add neighbours up, not a layer with weights

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, groups: int = 1) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        parts = x.chunk(self.groups, 1)
        return torch.cat([F.local_response_norm(part, self.size, self.alpha, self.beta, self.k) for part in parts], 1)

    def extra_repr(self) -> str:
        """Show the settings when the model is printed."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"
