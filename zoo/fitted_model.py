"""What classified images before networks learnt their features: descriptors, codes, a classifier.

A `FittedModel` maps images to scores as any model does. It isn't trained by steps: its codebook and
its classifier are fitted once (bench/train/once_method.py), and are parameters like any others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_type_hints

import torch
from torch import Tensor, nn

from zoo.encoding import (
    Encoder,
    FisherVectors,
    HardCodes,
    LocalityCodes,
    Pooling,
    Root,
    SpatialPyramid,
    TriangleCodes,
)
from zoo.forest import Forest
from zoo.kernel_map import KernelMap
from zoo.switch import check_against

Encoding = Literal["none", "vq", "triangle", "llc", "fisher"]
SolverName = Literal["svm", "ridge", "forest"]
CHUNK = 64  # images of 32 px whose maps stay in a CPU's caches
ENCODERS: dict[str, Callable[[int, int], Encoder]] = {
    "vq": HardCodes,
    "triangle": TriangleCodes,
    "llc": LocalityCodes,
    "fisher": FisherVectors,
}
CODED_BY_NUMBER = ("vq", "triangle", "llc")  # by the switch `codes`
# Codes that are counts, or grow with them: large ones weigh less.
ROOTED = ("vq", "fisher")


@dataclass(frozen=True, kw_only=True)
class Design:
    """What tells one model of a descriptor from another: the switches behind its name."""

    encoding: Encoding = "triangle"
    codes: int = 200
    gaussians: int = 16  # of the mixture behind Fisher vectors, instead of codes
    levels: Literal[1, 2, 3] = 3  # of the pyramid: grids of 1, 2 and 4 cells along a side
    pooling: Pooling = "mean"
    classifier: Literal["svm", "rbf", "ridge", "forest"] = "svm"
    landmarks: int = 2000  # training images by which rbf compares all others
    trees: int = 100  # of a forest, each of at most so many leaves
    leaves: int = 4096
    mirror: bool = False  # features are means over the image and its mirror image


@dataclass(frozen=True)
class Descriptor:
    """A local descriptor in two forms, each with how many values it gives.

    `dense` describes places all over an image, for a codebook: `num_values` a place. `grid`
    describes the image as a whole by a few: `num_in_grid` values in all, for any image size.
    """

    dense: Callable[[], nn.Module]
    num_values: int
    grid: Callable[[], nn.Module]
    num_in_grid: int


class FittedModel(nn.Module):
    """Descriptors, the codes that they become, their pooling, and a classifier.

    `solver` names how the classifier is fitted. Without an encoder there is no codebook to learn.
    With `mirror` features are means over an image and its mirror image.
    At most `chunk` images are in memory at once.
    """

    def __init__(
        self,
        local: nn.Module,
        encoder: Encoder | None,
        pooling: nn.Module,
        *,
        kernel: KernelMap | None = None,
        classifier: nn.Linear | Forest,
        solver: SolverName,
        mirror: bool,
        chunk: int,
    ) -> None:
        super().__init__()
        self.local = local
        self.encoder = encoder
        self.pooling = pooling
        self.kernel = kernel
        self.classifier = classifier
        self.solver = solver
        self.mirror = mirror
        self.chunk = chunk

    @property
    def num_features(self) -> int:
        """Return how many features of an image the classifier reads."""
        return self.classifier.in_features

    @property
    def has_codebook(self) -> bool:
        """Return whether anything is learnt from images before all are looked at."""
        return self.encoder is not None or self.kernel is not None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Return the libraries that it is fitted by, beside torch; to score needs none."""
        by_sklearn = self.solver == "forest" or isinstance(self.encoder, FisherVectors)
        return ("sklearn",) if by_sklearn else ()

    def embed(self, images: Tensor) -> Tensor:
        """Return what the classifier reads: (N, num_features)."""
        features = self.pool(images)
        return features if self.kernel is None else self.kernel(features)

    def pool(self, images: Tensor) -> Tensor:
        """Return the pooled codes of images, (N, F): their features but for a kernel's."""
        # Small parts stay in a CPU's caches. A compiled graph is of one piece.
        if torch.compiler.is_compiling() or len(images) <= self.chunk:
            return self._pool(images)
        return torch.cat([self._pool(part) for part in torch.split(images, self.chunk)])

    def _pool(self, images: Tensor) -> Tensor:
        features = self._describe(images)
        return (features + self._describe(images.flip(3))) / 2 if self.mirror else features

    def _describe(self, images: Tensor) -> Tensor:
        maps = self.local(images)
        if self.encoder is not None:
            maps = self.encoder(maps)
        features: Tensor = self.pooling(maps)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, num_classes) scores."""
        scores: Tensor = self.classifier(self.embed(images))
        return scores


def build_fitted(
    descriptor: Descriptor, design: Design, num_classes: int, switches: Mapping[str, Any]
) -> FittedModel:
    """Build the model of a design that switches change; ValueError for a wrong switch."""
    check_against(get_type_hints(Design), switches)
    design = replace(design, **switches)
    for switch in switches:
        is_read, reader = find_reader(design, switch)
        if not is_read:
            raise ValueError(
                f"{switch}: goes with {reader}, and nothing else reads it; leave it out"
            )
    if design.encoding == "fisher" and design.pooling == "max":
        raise ValueError("pooling=max: Fisher vectors are means; leave it out")
    encoder = None
    local: nn.Module = descriptor.grid()
    pooling: nn.Module = nn.Flatten()
    num_features = descriptor.num_in_grid
    if design.encoding != "none":
        local = descriptor.dense()
        num_codes = design.gaussians if design.encoding == "fisher" else design.codes
        encoder = ENCODERS[design.encoding](num_codes, descriptor.num_values)
        pyramid = SpatialPyramid([2**level for level in range(design.levels)], design.pooling)
        pooling = nn.Sequential(pyramid, Root()) if design.encoding in ROOTED else pyramid
        num_features = encoder.num_maps * pyramid.num_cells
    kernel = None
    solver: SolverName = "svm"
    if design.classifier == "rbf":
        kernel = KernelMap(num_features, design.landmarks)
        num_features = kernel.num_outputs
    else:
        solver = design.classifier
    classifier: nn.Linear | Forest = build_linear(num_features, num_classes)
    if design.classifier == "forest":
        classifier = Forest(
            num_features, num_classes, num_trees=design.trees, num_leaves=design.leaves
        )
    return FittedModel(
        local,
        encoder,
        pooling,
        kernel=kernel,
        classifier=classifier,
        solver=solver,
        mirror=design.mirror,
        chunk=CHUNK,
    )


def find_reader(design: Design, switch: str) -> tuple[bool, str]:
    """Return whether a design has a use for a switch, and what such a design is switched by."""
    if switch == "codes":
        return design.encoding in CODED_BY_NUMBER, f"encoding={', '.join(CODED_BY_NUMBER)}"
    if switch == "gaussians":
        return design.encoding == "fisher", "encoding=fisher"
    if switch in ("levels", "pooling"):
        return design.encoding != "none", "an encoding"
    if switch == "landmarks":
        return design.classifier == "rbf", "classifier=rbf"
    if switch in ("trees", "leaves"):
        return design.classifier == "forest", "classifier=forest"
    return True, ""


def build_linear(num_features: int, num_classes: int) -> nn.Linear:
    """Build a linear layer that isn't fitted yet: all scores are alike."""
    layer = nn.Linear(num_features, num_classes).requires_grad_(False)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
