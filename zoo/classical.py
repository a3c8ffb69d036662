"""Classical models by name: a descriptor, and how it is coded and classified unless switched."""

from typing import Any

from torch import nn

from zoo.fitted_model import Descriptor, Design, build_fitted
from zoo.hog import Hog

NUM_HOG = 4 * 9  # values of a block: four cells of nine orientations

# On 32 px: dense blocks of 8 px, two px apart; or 7x7 overlapping blocks that cover the image.
HOG = Descriptor(
    dense=lambda: Hog(nn.AvgPool2d(4, stride=2), apart=2),
    num_values=NUM_HOG,
    grid=lambda: Hog(nn.AdaptiveAvgPool2d(8)),
    num_in_grid=NUM_HOG * 7 * 7,
)


def hog_svm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a linear support vector machine on histograms of oriented gradients."""
    return build_fitted(HOG, Design(), num_classes, switches)
