"""Dense descriptors of whole batches.

Oracles: scikit-image, which describes an image at a time, and the covariance of whitened patches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.feature import SIFT, hog, local_binary_pattern
from skimage.feature._hoghistogram import hog_histograms
from torch import Tensor, nn

from zoo.cells import CellMeans
from zoo.classical import HOG
from zoo.hog import Hog, Orientations
from zoo.lbp import NUM_PATTERNS, Lbp, number_pattern
from zoo.patches import WhitenedPatches
from zoo.sift import DenseSift


def draw_images(size: int, channels: int, seed: int = 0) -> Tensor:
    """Images (4, C, size, size) as they are stored, one of them flat and one half flat."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (4, channels, size, size), generator=generator).float()
    images[1] = 77
    images[2, :, : size // 2] = 13
    return images


@pytest.mark.parametrize(("size", "cell"), [(32, 4), (32, 8), (28, 7), (96, 16), (35, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_hog_is_scikit_images(size: int, cell: int, channels: int) -> None:
    images = draw_images(size, channels)
    ours = Hog(CellMeans(cell))(images)
    for image, found in zip(images.double().numpy(), ours, strict=True):
        expected = hog(
            np.moveaxis(image, 0, -1),
            9,
            (cell, cell),
            (2, 2),
            feature_vector=False,
            channel_axis=-1,
        )
        # Theirs is (row, column) of the block, (row, column) of the cell, orientation.
        blocks = torch.from_numpy(expected).flatten(2).movedim(2, 0)
        assert (found - blocks).abs().max() < 1e-6


@pytest.mark.parametrize("num", [8, 9])
def test_every_gradient_of_whole_levels_falls_where_scikit_image_puts_it(num: int) -> None:
    """By its own loop: also those that lie on a bound, as the diagonals do of eight maps."""
    right, down = torch.meshgrid(torch.arange(-255, 256), torch.arange(-255, 256), indexing="ij")
    images = torch.zeros(right.numel(), 1, 3, 3)
    # What isn't below 0 is stored on one side of the middle, the rest on the other.
    for gradient, after, before in ((right, (1, 2), (1, 0)), (down, (2, 1), (0, 1))):
        images[:, 0, after[0], after[1]] = gradient.flatten().clamp(min=0)
        images[:, 0, before[0], before[1]] = -gradient.flatten().clamp(max=0)
    # Each map holds what is turned by its bound or more.
    maps = Orientations(num)(images)[:, :, 1, 1]
    found = maps - nn.functional.pad(maps[:, 1:], (0, 1))
    size = len(right)
    expected = np.zeros((size, size, num))
    gradients = (part.double().numpy() for part in (right, down))
    hog_histograms(*gradients, 1, 1, size, size, size, size, num, expected)
    assert np.abs(found.numpy() - expected.reshape(-1, num)).max() < 1e-4


@pytest.mark.parametrize(("size", "stride"), [(4, None), (4, 2), (3, 1), (1, 1), (5, 7)])
def test_means_of_cells_are_torchs_pooling(size: int, stride: int | None) -> None:
    maps = torch.rand(2, 3, 23, 30, generator=torch.Generator().manual_seed(0))
    before = maps.clone()
    assert torch.allclose(CellMeans(size, stride)(maps), nn.AvgPool2d(size, stride)(maps))
    assert torch.equal(maps, before), "what is pooled stays as it was"


def test_blocks_that_are_apart_are_those_of_every_shifted_grid() -> None:
    """Dense blocks, two pixels apart, are scikit-image's of the shifted image."""
    images = draw_images(32, 1)
    dense = HOG.dense()(images)
    assert dense.shape == (4, 36, 13, 13)
    inner = hog(images[0, 0, 2:, 2:].double().numpy(), 9, (4, 4), (2, 2), feature_vector=False)
    # A border has no gradient: blocks that touch none are the same.
    assert np.abs(dense[0, :, 5, 7].numpy() - inner[2, 3].ravel()).max() < 1e-6


@pytest.mark.parametrize("cells", [CellMeans(4), nn.AdaptiveAvgPool2d(8)])
def test_a_batch_is_its_images(cells: nn.Module) -> None:
    images = draw_images(32, 3).contiguous(memory_format=torch.channels_last)
    alone = torch.cat([Hog(cells)(image[None]) for image in images])
    assert torch.equal(Hog(cells)(images), alone)


@pytest.mark.parametrize("size", [32, 28, 45])
def test_binary_patterns_are_scikit_images(size: int) -> None:
    """Also where neighbours are as light as their pixel, which its rounding decides."""
    images = draw_images(size, 1)
    images[3] = torch.arange(size)
    codes = Lbp().find_codes(images)
    for image, found in zip(images, codes, strict=True):
        levels = image[0].numpy().astype(np.uint8)
        expected = local_binary_pattern(levels, 8, 1, "nri_uniform")
        assert np.array_equal(found.numpy(), expected)


def test_there_are_as_many_patterns_as_codes() -> None:
    assert {number_pattern(bits) for bits in range(256)} == set(range(NUM_PATTERNS))


@pytest.mark.parametrize(("size", "cells"), [(32, 8), (28, 8), (32, 16)])
def test_patterns_are_counted_cell_by_cell(size: int, cells: int) -> None:
    images = draw_images(size, 1)
    codes = Lbp().find_codes(images)[0].numpy()
    found = Lbp(cells=cells)(images)[0]
    assert found.sum(0).numpy() == pytest.approx(1)
    rows = np.arange(size) * cells // size
    for row, column in ((0, 0), (2, 5), (cells - 1, cells - 1)):
        cell = codes[np.ix_(rows == row, rows == column)]
        expected = np.bincount(cell.ravel(), minlength=NUM_PATTERNS) / cell.size
        assert found[:, row, column].numpy() == pytest.approx(expected)


def test_colour_is_read_as_whole_levels_of_grey() -> None:
    images = draw_images(32, 3)
    red, green, blue = images.unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).round()[:, None]
    assert torch.equal(Lbp().find_codes(images), Lbp().find_codes(grey))


class SiftAt(SIFT):
    """scikit-image's SIFT at places that are given, upright and of one scale."""

    deltas = np.array([1.0])

    def describe(self, image: NDArray[np.float64], places: Sequence[Any]) -> NDArray[np.uint8]:
        """Return the descriptors (N, 128) at (row, column) places."""
        self.float_dtype = np.float64
        self.positions = np.array(places, float)
        zeros = np.zeros(len(places), int)
        self.scales, self.octaves, self.orientations = zeros, zeros, zeros
        self.sigmas = np.ones(len(places))
        self._compute_descriptor([tuple(part[..., None] for part in np.gradient(image))])
        return self.descriptors


def test_dense_sift_is_scikit_images_at_every_place() -> None:
    """Its descriptors are whole numbers up to 255.

    Of noise: where a gradient lies exactly on an orientation, scikit-image counts it twice.
    """
    image = draw_images(32, 1)[0, 0] + torch.rand(
        32, 32, generator=torch.Generator().manual_seed(5)
    )
    found = DenseSift(cell=3, stride=2)(image[None, None])[0]
    assert found.shape == (128, 9, 9)
    places = [(7 + 2 * row, 7 + 2 * column) for row in range(9) for column in range(9)]
    expected = SiftAt().describe(image.double().numpy(), places)
    ours = (512 * found).floor().clamp(max=255).flatten(1).T.numpy()
    differences = np.abs(ours - expected)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 1e-3, "but for the last bit before a number is cut off"


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated(channels: int) -> None:
    """But for what is added to their variances: C becomes C (C + 0.1)^-1."""
    torch.manual_seed(0)
    images = 40 * torch.randn(30, channels, 20, 20).cumsum(3).cumsum(2) / 20 + 128
    patches = nn.functional.unfold(images.double(), 6).movedim(1, 2).flatten(0, 1)
    patches = patches - patches.mean(1, keepdim=True)
    patches = patches / (patches.var(1, keepdim=True) + 10).sqrt()
    local = WhitenedPatches(channels)
    local.see_images(images)
    maps = local(images)
    assert maps.shape == (30, 36 * channels, 15, 15)
    rows = maps.movedim(1, 3).flatten(0, 2).double()
    covariance = torch.cov(patches.T, correction=0)
    expected = covariance @ torch.linalg.inv(covariance + 0.1 * torch.eye(len(covariance)))
    torch.testing.assert_close(torch.cov(rows.T, correction=0), expected, rtol=0, atol=1e-3)
    # Each place is that patch.
    whitened = (patches - patches.mean(0)) @ local.whitening.double()
    torch.testing.assert_close(rows, whitened, rtol=0, atol=1e-2)
