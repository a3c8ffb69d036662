"""Descriptors of a batch beside scikit-image's, image by image: 256 images of 32 px, one thread.

    python -m pytest -m micro tests/micro/test_descriptor_micro.py

Both sides run in one run. pytest-benchmark prints a table a group; compare the rows of one table
only.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from skimage.feature import hog, local_binary_pattern
from torch import Tensor, nn

from tests.micro.side import open_images
from tests.test_descriptor import SiftAt
from zoo.cells import CellMeans
from zoo.grey import to_grey
from zoo.hog import Hog
from zoo.lbp import NUM_PATTERNS, Lbp
from zoo.sift import DenseSift

pytestmark = [pytest.mark.micro, pytest.mark.usefixtures("one_thread")]

NUM_IMAGES, CHUNK, ROUNDS = 256, 64, 15
CELLS = np.add.outer(8 * (np.arange(32) // 4), np.arange(32) // 4)  # of each pixel
PLACES = [(7 + 2 * row, 7 + 2 * column) for row in range(9) for column in range(9)]


@pytest.fixture(scope="module")
def images() -> Tensor:
    data = open_images()
    window = slice(data.margin, data.margin + data.size)
    stored = data.train.images[np.arange(NUM_IMAGES)][:, window, window]
    return torch.from_numpy(stored).movedim(3, 1).float()


def by_scikit_image(name: str, images: Tensor) -> Callable[[], object]:
    """Describe image after image."""
    colour = images.movedim(1, 3).double().numpy()
    grey = to_grey(images)[:, 0].numpy().astype(np.uint8)
    if name == "HOG":
        return lambda: [hog(one, 9, (4, 4), (2, 2), channel_axis=-1) for one in colour]
    if name == "LBP":
        return lambda: [count_patterns(one) for one in grey]
    return lambda: [SiftAt().describe(one.astype(float), PLACES) for one in grey[:16]]


def count_patterns(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Histograms of patterns over 8x8 cells of 4 px."""
    codes = local_binary_pattern(grey, 8, 1, "nri_uniform").astype(np.int64)
    places = NUM_PATTERNS * CELLS + codes
    counts = np.bincount(places.ravel(), minlength=64 * NUM_PATTERNS)
    return counts.reshape(64, NUM_PATTERNS) / 16


OURS: dict[str, Callable[[], nn.Module]] = {
    "HOG": lambda: Hog(CellMeans(4)),
    "LBP": lambda: Lbp(cells=8),
    "SIFT": DenseSift,
}


@pytest.mark.parametrize("side", ["ours", "scikit-image"])
@pytest.mark.parametrize("name", OURS)
def test_descriptor(benchmark: BenchmarkFixture, images: Tensor, name: str, side: str) -> None:
    num_images = 16 if name == "SIFT" else NUM_IMAGES
    benchmark.group = f"{name} of {num_images} images of 32 px, one thread"
    if side == "ours":
        model = OURS[name]()
        taken = images if name == "HOG" else to_grey(images)
        parts = torch.split(taken[:num_images], CHUNK)

        def describe() -> object:
            with torch.inference_mode():
                return [model(part) for part in parts]

    else:
        describe = by_scikit_image(name, images)
    benchmark.pedantic(describe, rounds=ROUNDS, warmup_rounds=2)
