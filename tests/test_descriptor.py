"""Dense descriptors of whole batches. Oracle: scikit-image, which describes an image at a time."""

import numpy as np
import pytest
import torch
from skimage.feature import hog
from torch import Tensor, nn

from zoo.hog import Hog


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
    ours = Hog(nn.AvgPool2d(cell))(images)
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


def test_blocks_that_are_apart_are_those_of_every_shifted_grid() -> None:
    """Dense blocks, an even number of pixels apart, are scikit-image's of the shifted image."""
    images = draw_images(32, 1)
    dense = Hog(nn.AvgPool2d(4, stride=2), apart=2)(images)
    assert dense.shape == (4, 36, 13, 13)
    inner = hog(images[0, 0, 2:, 2:].double().numpy(), 9, (4, 4), (2, 2), feature_vector=False)
    # A border has no gradient: blocks that touch none are the same.
    assert np.abs(dense[0, :, 5, 7].numpy() - inner[2, 3].ravel()).max() < 1e-6


@pytest.mark.parametrize("cells", [nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(8)])
def test_a_batch_is_its_images(cells: nn.Module) -> None:
    images = draw_images(32, 3).contiguous(memory_format=torch.channels_last)
    alone = torch.cat([Hog(cells)(image[None]) for image in images])
    assert torch.equal(Hog(cells)(images), alone)
