"""Codebooks learnt from descriptors of training images: k-means, and mixtures of Gaussians."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zoo.encoding import Codebook, Encoder, FisherVectors
from zoo.extra import need

NUM_SAMPLED = 4000  # images whose descriptors a codebook is learnt from
ROUNDS = 20  # of Lloyd's algorithm
MOST_ROUNDS, ROUNDS_AT_ONCE = 100, 10  # of a mixture; without heeding a signal
LEAST_VARIANCE = 1e-6  # of a Gaussian
BLOCK = 8192  # descriptors that are compared with all centres at a time


def learn_codebook(
    encoder: Encoder, samples: Tensor, generator: torch.Generator, check: Callable[[], None]
) -> dict[str, float]:
    """Fit an encoder's codes to descriptors (M, D); return what was found.

    `check` is called every round, and may raise. ValueError for fewer samples than codes.
    """
    if len(samples) < encoder.num_codes:
        raise ValueError(
            f"{encoder.num_codes} codes can't be learnt from {len(samples)} descriptors"
        )
    if isinstance(encoder, FisherVectors):
        return _fit_mixture(encoder, samples, generator, check)
    assert isinstance(encoder, Codebook), "there are two kinds"
    centres, error = find_centres(samples, encoder.num_codes, generator, check)
    with torch.no_grad():
        encoder.centres.copy_(centres)
    return {"mean_squared_distance": error}


def _fit_mixture(
    encoder: FisherVectors,
    samples: Tensor,
    generator: torch.Generator,
    check: Callable[[], None],
) -> dict[str, float]:
    """Fit a mixture of Gaussians, each with a deviation a value, by scikit-learn."""
    mixture = need("sklearn.mixture", "classic").GaussianMixture(
        encoder.num_codes,
        covariance_type="diag",
        reg_covar=LEAST_VARIANCE,
        random_state=int(torch.randint(2**31, (1,), generator=generator)),
        max_iter=ROUNDS_AT_ONCE,
        warm_start=True,
    )
    rows = samples.double().cpu().numpy()
    # That it hasn't settled after a hundred rounds is no fault: it is a codebook.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(MOST_ROUNDS // ROUNDS_AT_ONCE):
            check()
            if mixture.fit(rows).converged_:
                break
    state = {
        "weights": mixture.weights_,
        "means": mixture.means_,
        "deviations": np.sqrt(mixture.covariances_),
    }
    encoder.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return {"log_likelihood": float(mixture.score(rows))}


def find_centres(
    samples: Tensor,
    num_centres: int,
    generator: torch.Generator,
    check: Callable[[], None] = lambda: None,
) -> tuple[Tensor, float]:
    """Return k-means' centres (K, D) of samples (M, D), and a mean squared distance to them.

    It is measured before the last round moves them, and so a little larger than theirs. Lloyd's
    algorithm from samples drawn at random; a centre that no sample is nearest to becomes a sample
    again.
    """
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
