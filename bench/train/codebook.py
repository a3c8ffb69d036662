"""Codebooks learnt from descriptors of training images: k-means."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.encoding import Codebook

ROUNDS = 20  # of Lloyd's algorithm
BLOCK = 8192  # descriptors that are compared with all centres at a time


def learn_codebook(
    encoder: Codebook, samples: Tensor, generator: torch.Generator, check: Callable[[], None]
) -> dict[str, float]:
    """Fit an encoder's codebook to descriptors (M, D); return what was found.

    `check` is called every round, and may raise.
    """
    centres, error = find_centres(samples, len(encoder.centres), generator, check)
    with torch.no_grad():
        encoder.centres.copy_(centres)
    return {"mean_squared_distance": error}


def find_centres(
    samples: Tensor,
    num_centres: int,
    generator: torch.Generator,
    check: Callable[[], None] = lambda: None,
) -> tuple[Tensor, float]:
    """Return k-means' centres (K, D) of samples (M, D), and the mean squared distance to them.

    Lloyd's algorithm from samples drawn at random; a centre that no sample is nearest to becomes
    a sample again. ValueError for fewer samples than centres.
    """
    if len(samples) < num_centres:
        raise ValueError(f"{num_centres} codes can't be learnt from {len(samples)} descriptors")
    centres = samples[_draw(len(samples), num_centres, generator)].clone()
    error = 0.0
    for _ in range(ROUNDS):
        check()
        sums = torch.zeros_like(centres, dtype=torch.double)
        counts = sums.new_zeros(num_centres)
        total = 0.0
        for block in torch.split(samples, BLOCK):
            nearness = block @ centres.T - centres.square().sum(dim=1) / 2
            best, nearest = nearness.max(dim=1)
            sums.index_add_(0, nearest, block.double())
            counts += torch.bincount(nearest, minlength=num_centres)
            total += float((block.square().sum(dim=1) - 2 * best).sum(dtype=torch.double))
        error = total / len(samples)
        centres = (sums / counts[:, None].clamp(min=1)).to(centres.dtype)
        empty = torch.nonzero(counts == 0).flatten()
        centres[empty] = samples[_draw(len(samples), len(empty), generator)]
    return centres, error


def _draw(num: int, num_drawn: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(num, generator=generator)[:num_drawn]
