"""The way from pixels to what a network takes, as it is exported.

Oracles: the transform of training (`Finish`), and the decoder of image files.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.picture import fit_square
from bench.data.pixels import Finish, ModelInput
from bench.deploy.model_info import Transform
from bench.deploy.pipeline import Pipeline

PLAIN = Transform(
    short_side=32,
    side=32,
    channels=3,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.25),
    in_channels=3,
    image_size=32,
)
TRANSFORMS = (
    PLAIN,
    replace(PLAIN, short_side=36, image_size=224),
    replace(PLAIN, short_side=57, side=50, image_size=32),
    replace(PLAIN, in_channels=1),
    replace(PLAIN, short_side=28, side=28, channels=1, mean=(0.1,), std=(0.3,)),
)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_a_pipeline_prepares_squares_as_training_does(transform: Transform) -> None:
    pipeline = Pipeline(nn.Identity(), transform)
    shape = (3, transform.short_side, transform.short_side, transform.channels)
    squares = torch.randint(0, 256, shape, dtype=torch.uint8)
    taken = ModelInput(
        mean=transform.mean,
        std=transform.std,
        channels_last=False,
        device=torch.device("cpu"),
        image_size=transform.image_size,
        in_channels=transform.in_channels,
    )
    finish = Finish(taken, size=transform.side, channels=transform.channels)
    margin = (transform.short_side - transform.side) // 2
    window = slice(margin, margin + transform.side)
    expected = finish(squares[:, window, window])
    found = pipeline.normalise(pipeline.take_squares(squares))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(90, 41), (31, 64), (20, 33), (33, 33), (300, 500)])
def test_a_pipeline_takes_the_square_that_the_decoder_takes(size: tuple[int, int]) -> None:
    """Pillow rounds after each direction, and which comes first depends on the shape."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    pipeline = Pipeline(nn.Identity(), PLAIN)
    found = pipeline.take_squares(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0).numpy()
    expected = fit_square(pixels, 32, 3).astype(np.float32)
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.3
