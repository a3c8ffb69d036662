"""One model in words and numbers: its spec, its layers and what they cost."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zoo import cost, registry
from zoo.library import namesakes
from zoo.spec import LayerCost, ModelSpec
from zoo.two_tower import crossings


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model's spec and the layers that one image of `image_size` px goes through."""

    spec: ModelSpec
    num_classes: int
    image_size: int
    layers: Sequence[LayerCost]
    kernels: Mapping[str, str]
    num_parameters: int

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image, forward."""
        return sum(layer.multiply_adds for layer in self.layers)

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "spec": dataclasses.asdict(self.spec),
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "num_parameters": self.num_parameters,
            "multiply_adds": self.multiply_adds,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }

    def heading(self) -> list[str]:
        """Lines above the table of layers."""
        spec = self.spec
        origin = f" ({spec.year}): {spec.paper}" if spec.year else ""
        lines = [
            f"{spec.name}: {spec.family}{origin}",
            f"input {spec.in_channels}x{self.image_size}x{self.image_size}, {self.num_classes} classes, "
            f"total stride {spec.total_stride}, stem: {spec.stem}",
        ]
        same = (
            f"the libraries have models of this name too: {', '.join(others)}"
            if (others := namesakes(spec.name))
            else ""
        )
        return [*lines, *(line for line in (spec.notes, same) if line), ""]

    def rows(self) -> list[tuple[str, ...]]:
        """One row a layer: name, kind, kernel, output shape, parameters, multiply-adds."""
        return [
            (
                layer.name or "(model)",
                layer.kind,
                self.kernels.get(layer.name, ""),
                _times(layer.output_shape),
                f"{layer.num_parameters:,}",
                f"{layer.multiply_adds:,}",
            )
            for layer in self.layers
        ]

    def footing(self) -> list[str]:
        """Lines below the table of layers."""
        units = sum(math.prod(layer.output_shape) for layer in self.layers if layer.multiply_adds)
        megabytes = sum(layer.activation_bytes for layer in self.layers) / 1e6
        return [
            "",
            f"{self.num_parameters:,} parameters, {self.multiply_adds:,} multiply-adds, {units:,} units, "
            f"{megabytes:.1f} MB of activations an image (float32)",
            *crossings(self.layers),
        ]


def describe(name: str, *, num_classes: int = 100, image_size: int | None = None) -> Description:
    """Build a model without its numbers and count it, at its own image size unless another is given."""
    spec = registry.resolve(name, num_classes=num_classes)
    size = image_size or spec.image_size
    with torch.device("meta"):
        model = registry.create_model(name, num_classes=num_classes)
    layers = cost.layer_costs(model, image_size=size, in_channels=spec.in_channels)
    return Description(
        spec=spec,
        num_classes=num_classes,
        image_size=size,
        layers=layers,
        kernels={layer.name: kernel(model.get_submodule(layer.name)) for layer in layers},
        num_parameters=cost.count_parameters(model),
    )


def kernel(layer: nn.Module) -> str:
    """Say what one unit of a convolution reads, as the AlexNet paper does.

    5x5x48 is 5 by 5 pixels of 48 maps.
    """
    return (
        _times((*layer.weight.shape[2:], layer.weight.shape[1]))
        if isinstance(layer, nn.Conv2d)
        else ""
    )


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
