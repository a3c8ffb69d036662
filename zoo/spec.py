"""What is known of a model before it is built, and what its layers cost. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

Source = Literal["zoo", "torchvision", "timm", "file"]  # where the code of a network is from

AS_PUBLISHED = "as published"
# How a model learns: by steps on batches, or fitted once, part by part.
STEPS: Literal["steps"] = "steps"
ONCE: Literal["once"] = "once"
# The kind of the row of what attention multiplies: queries by keys, and what they weigh.
PRODUCTS = "products of activations"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: where it is from, what it reads, what it costs, how it is trained by default.

    `file` is the module under `zoo` whose function of the model's name builds it; `source` is where
    the network's code is from. `num_parameters` and `multiply_adds` (one image, forward,
    convolutions and linear layers) hold for `at` = (num_classes, image_size). `mean` and `std` are
    None where the data set's own are used. `stem` says in words what fits a network to small
    images; `parallelise` names functions `MODULE:FUNCTION` by the axis that they serve; `learner`
    is the way in which it learns (bench/train/method_choice.py).
    """

    name: str
    family: str
    file: str
    source: Source
    year: int  # of the paper; 0 where nobody said
    paper: str
    image_size: int  # pixels, along a side
    in_channels: int = 3
    stem: str = AS_PUBLISHED
    # Pixels of the image for one of the last maps, along a side; None where it can't be counted.
    total_stride: int | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_parameters: int
    multiply_adds: int | None  # None where they can't be counted
    at: tuple[int, int]
    tags: tuple[str, ...] = ()
    # Options of a training (`lr`, `optimizer`) that hold where a request names no other.
    defaults: Mapping[str, float | int | str] = field(default_factory=dict)
    parallelise: Mapping[str, str] = field(default_factory=dict)
    learner: Literal["steps", "once"] = STEPS
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one layer costs for one image; a record keeps it as it stands here.

    `output_shape` is without the batch, `num_parameters` are the layer's own, `multiply_adds` are
    of its forward pass, and `activation_bytes` is the size of its output in float32 over all its
    calls: 0 where it writes over its input.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_parameters: int
    multiply_adds: int
    activation_bytes: int


def total_multiply_adds(layers: Sequence[LayerCost]) -> int | None:
    """Return the multiply-adds of convolutions and linear layers, as most papers count them.

    None where no layer could be counted.
    """
    if not layers:
        return None
    return sum(layer.multiply_adds for layer in layers if layer.kind != PRODUCTS)


@runtime_checkable
class Prepared(Protocol):
    """A network whose first weights depend on the data: it is shown images before training."""

    def see_images(self, images: "Tensor") -> None:
        """Take in (N, C, H, W) float32 images, normalised as those of the training."""
