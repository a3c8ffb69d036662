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
# A tree splits by single features: a few plain ones tell it more than many codes.
FOREST = Design(encoding="none", classifier="forest")


def hog_svm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a linear support vector machine on histograms of oriented gradients."""
    return build_fitted(HOG, Design(), num_classes, switches)


def hog_forest(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a random forest on histograms of oriented gradients."""
    return build_fitted(HOG, FOREST, num_classes, switches)
