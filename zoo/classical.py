"""Classical models by name: a descriptor, and how it is coded and classified unless switched."""

from typing import Any, Literal

from torch import nn

from zoo.cells import CellMeans
from zoo.encoding import Root, SpatialPyramid, TriangleCodes
from zoo.fitted_model import Descriptor, Design, FittedModel, build_fitted, build_linear
from zoo.hog import Hog
from zoo.kernel_map import KernelMap
from zoo.lbp import NUM_PATTERNS, Lbp
from zoo.patches import WhitenedPatches
from zoo.sift import NUM_SIFT, DenseSift

NUM_HOG = 4 * 9  # values of a block: four cells of nine orientations

# On 32 px: dense blocks of 8 px, two px apart; or 7x7 overlapping blocks that cover the image.
HOG = Descriptor(
    dense=lambda: Hog(nn.Sequential(CellMeans(2), CellMeans(2, stride=1)), apart=2),
    num_values=NUM_HOG,
    grid=lambda: Hog(nn.AdaptiveAvgPool2d(8)),
    num_in_grid=NUM_HOG * 7 * 7,
)
# Histograms over 8 px, two px apart; or over 8x8 cells.
LBP = Descriptor(
    dense=lambda: nn.Sequential(Lbp(pixels=2), CellMeans(4, stride=1), Root()),
    num_values=NUM_PATTERNS,
    grid=lambda: nn.Sequential(Lbp(cells=8), Root()),
    num_in_grid=NUM_PATTERNS * 8 * 8,
)
# Descriptors of 15 px, two px apart; or their means over 4x4 cells.
SIFT = Descriptor(
    dense=DenseSift,
    num_values=NUM_SIFT,
    grid=lambda: nn.Sequential(DenseSift(), nn.AdaptiveAvgPool2d(4)),
    num_in_grid=NUM_SIFT * 4 * 4,
)
CODED = Design()
# A tree splits by single features: a few plain ones tell it more than many codes.
FOREST = Design(encoding="none", classifier="forest")


def hog_svm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a linear support vector machine on histograms of oriented gradients."""
    return build_fitted(HOG, CODED, num_classes, switches)


def hog_forest(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a random forest on histograms of oriented gradients."""
    return build_fitted(HOG, FOREST, num_classes, switches)


def lbp_svm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a linear support vector machine on local binary patterns."""
    return build_fitted(LBP, CODED, num_classes, switches)


def sift_svm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a linear support vector machine on dense SIFT."""
    return build_fitted(SIFT, CODED, num_classes, switches)


# Of all images that are looked at together. Each code of an image of 32 px has a map of 27x27, 9.3
# MB in all; of more, memory is asked of the system anew each time, which takes as long as the
# products.
CODES_AT_ONCE = 3200
IMAGE_SIZE = 32  # pixels of the images that patches are made for
PATCH_GAMMA = 0.1  # of a kernel beside its features: 0.2 is as good, 0.6 a point worse (LAB.md)


def kmeans_patches(
    *,
    num_classes: int = 100,
    in_channels: int = 3,
    codes: int = 1600,
    patch: int = 6,
    mirror: bool = True,
    root: bool = True,
    classifier: Literal["ridge", "svm"] = "ridge",
    landmarks: int = 0,
) -> nn.Module:
    """Build a linear classifier on codes of whitened patches (Coates, Lee, Ng 2011).

    Their triangle code, of `codes` centres, averaged over the quarters of the image. The paper
    averages neither over the mirror image as well (`mirror`) nor takes roots of the means (`root`),
    by which large ones weigh less. With `landmarks` the classifier also reads a radial basis kernel
    of the image and so many training images.
    """
    if patch > IMAGE_SIZE:
        raise ValueError(f"patch={patch}: an image of {IMAGE_SIZE} px has no such patch")
    local = WhitenedPatches(in_channels, side=patch)
    encoder = TriangleCodes(codes, local.num_values)
    pyramid = SpatialPyramid([2])
    num_features = codes * pyramid.num_cells
    kernel = None
    if landmarks:
        kernel = KernelMap(num_features, landmarks, gamma=PATCH_GAMMA, keep=True)
    return FittedModel(
        local,
        encoder,
        nn.Sequential(pyramid, Root()) if root else pyramid,
        kernel=kernel,
        classifier=build_linear(kernel.num_outputs if kernel else num_features, num_classes),
        solver=classifier,
        mirror=mirror,
        chunk=max(1, CODES_AT_ONCE // codes),
    )
