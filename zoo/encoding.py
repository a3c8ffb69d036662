"""From maps of local descriptors to a vector an image: codes of a codebook, pooled over a pyramid.

A codebook is learnt from descriptors of training images (bench/train/codebook.py), once. What is
learnt is a parameter that takes no gradient: whatever counts, saves and loads parameters finds it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pooling = Literal["mean", "max"]
NUM_NEAREST = 5  # centres that make up a descriptor in locality-constrained coding
LOCALITY = 1e-4


def reserve(*shape: int, dtype: torch.dtype | None = None) -> nn.Parameter:
    """Return the place of numbers that are fitted without gradients: zeros until then."""
    return nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)


class Encoder(nn.Module):
    """Codes of descriptors, place by place: (N, D, H, W) to (N, num_maps, H, W).

    `num_codes` are learnt from descriptors.
    """

    def __init__(self, num_codes: int, num_maps: int) -> None:
        super().__init__()
        self.num_codes, self.num_maps = num_codes, num_maps


class Codebook(Encoder):
    """Descriptors coded by `num_codes` centres, a map each."""

    def __init__(self, num_codes: int, num_values: int) -> None:
        super().__init__(num_codes, num_codes)
        self.centres = reserve(num_codes, num_values)

    def nearness(self, maps: Tensor) -> Tensor:
        """Return what grows as a centre is nearer, the same for all but a term of the descriptor.

        The product with the centre less half the centre's square. Channels come last in memory: a
        matrix product, and what follows goes along them.
        """
        offset = -self.centres.square().sum(dim=1) / 2
        return F.linear(maps.movedim(1, 3), self.centres, offset).movedim(3, 1)

    def distances(self, maps: Tensor) -> Tensor:
        """Return every descriptor's distance from every centre, (N, num_codes, H, W)."""
        squared = self.nearness(maps).mul_(-2).add_(maps.square().sum(dim=1, keepdim=True))
        # Rounding may leave the square of a small distance below 0.
        return squared.clamp_(min=0).sqrt_()


class HardCodes(Codebook):
    """Vector quantisation: 1 for the nearest centre, 0 for the others (Csurka et al. 2004)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, D, H, W) to (N, num_codes, H, W)."""
        near = self.nearness(maps)
        nearest = near.argmax(dim=1, keepdim=True)
        return torch.zeros_like(near).scatter(1, nearest, 1.0)


class TriangleCodes(Codebook):
    """How much nearer than the mean a centre is, 0 if it isn't (Coates, Lee, Ng 2011, eq. 2)."""

    def __init__(self, num_codes: int, num_values: int) -> None:
        super().__init__(num_codes, num_values)
        if num_codes < 2:
            raise ValueError(f"codes={num_codes}: one centre is never nearer than their mean")

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, D, H, W) to (N, num_codes, H, W)."""
        distances = self.distances(maps)
        mean = distances.mean(dim=1, keepdim=True)
        # In place, here and below: of many codes at many places memory is what takes time.
        return distances.neg_().add_(mean).clamp_(min=0)


class LocalityCodes(Codebook):
    """A descriptor as the sum of its five nearest centres, 0 for the others.

    The weights, which add up to 1, are those of the nearest sum (locality-constrained linear
    coding: Wang et al. 2010, section 2.3).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, D, H, W) to (N, num_codes, H, W)."""
        near = self.nearness(maps)
        nearest = near.topk(min(NUM_NEAREST, self.num_codes), dim=1).indices.movedim(1, 3)
        # Centres that lie close to one plane make float32's solution depend on the rounding.
        away = (self.centres[nearest] - maps.movedim(1, 3)[..., None, :]).double()
        products = away @ away.mT
        # Weights stay small where centres lie in one direction: a share of the trace, as theirs.
        size = products.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        damping = (LOCALITY * size).clamp(min=1e-12)
        identity = torch.eye(products.shape[-1], dtype=away.dtype, device=maps.device)
        ones = products.new_ones(*products.shape[:-1], 1)
        weights = torch.linalg.solve(products + damping * identity, ones)[..., 0]
        weights = (weights / weights.sum(dim=-1, keepdim=True)).to(maps.dtype)
        return torch.zeros_like(near).scatter(1, nearest.movedim(3, 1), weights.movedim(3, 1))


class FisherVectors(Encoder):
    """How a mixture of Gaussians would have to change to fit a descriptor better.

    The gradients of the logarithm of its density by means and deviations, scaled to unit variance,
    weighted by what each Gaussian has of the descriptor (Perronnin, Sánchez, Mensink 2010, section
    2.1): maps of all means come first.
    """

    def __init__(self, num_codes: int, num_values: int) -> None:
        super().__init__(num_codes, 2 * num_codes * num_values)
        self.weights = reserve(num_codes)
        self.means = reserve(num_codes, num_values)
        self.deviations = reserve(num_codes, num_values)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, D, H, W) to (N, 2 num_codes D, H, W)."""
        # One that isn't fitted has deviations of 0.
        deviations = self.deviations.clamp(min=1e-6)[..., None, None]
        away = (maps[:, None] - self.means[..., None, None]) / deviations
        log_density = -away.square().sum(dim=2) / 2 - deviations.log().sum(dim=1)
        weights = self.weights.clamp(min=1e-12)[:, None, None]
        shares = (log_density + weights.log()).softmax(dim=1)
        scaled = (shares / weights.sqrt())[:, :, None]
        by_means = scaled * away
        by_deviations = scaled * (away.square() - 1) / 2**0.5
        return torch.cat([by_means.flatten(1, 2), by_deviations.flatten(1, 2)], dim=1)


class SpatialPyramid(nn.Module):
    """Codes pooled over a grid of cells for each of `sides` (Lazebnik, Schmid, Ponce 2006).

    Maps (N, K, H, W) to (N, K times the sum of the squared sides), whatever H and W are.
    """

    def __init__(self, sides: Sequence[int], pooling: Pooling = "mean") -> None:
        super().__init__()
        self.sides = tuple(sides)
        self.pool = pool_max if pooling == "max" else F.adaptive_avg_pool2d
        self.num_cells = sum(side**2 for side in self.sides)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, K, H, W) to (N, K num_cells)."""
        return torch.cat([self.pool(maps, side).flatten(1) for side in self.sides], dim=1)


def pool_max(maps: Tensor, side: int) -> Tensor:
    """Map (N, K, H, W) to the maxima of `side` by `side` cells, as `F.adaptive_max_pool2d` does.

    That one has indices as well, and no ONNX.
    """
    for dimension in (2, 3):
        size = maps.shape[dimension]
        bounds = [(place * size // side, -(-(place + 1) * size // side)) for place in range(side)]
        cells = [maps.narrow(dimension, low, high - low).amax(dimension) for low, high in bounds]
        maps = torch.stack(cells, dim=dimension)
    return maps


class Root(nn.Module):
    """Signed square roots, then length 1: large counts weigh less (Perronnin et al. 2010).

    Between histograms whose sums are 1 distances are then Hellinger's, times the root of 2.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, F), or (N, F, H, W) place by place, to the same shape."""
        return F.normalize(features.sign() * features.abs().sqrt())
