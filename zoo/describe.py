"""One model in words and numbers: its spec, its layers and what they cost."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from zoo import cost, registry
from zoo.library import find_namesakes
from zoo.spec import LayerCost, ModelSpec, total_multiply_adds
from zoo.two_tower import describe_crossings


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model's spec and the layers that one image of `image_size` px goes through.

    `kernels` says by layer what one unit of it reads.
    """

    spec: ModelSpec
    num_classes: int
    image_size: int
    layers: Sequence[LayerCost]
    kernels: Mapping[str, str]
    num_parameters: int

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds of one image, forward; None where they can't be counted."""
        return total_multiply_adds(self.layers)

    def as_json(self) -> dict[str, Any]:
        """Return everything, in JSON's types."""
        return {
            "spec": dataclasses.asdict(self.spec),
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "num_parameters": self.num_parameters,
            "multiply_adds": self.multiply_adds,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }

    def heading(self) -> list[str]:
        """Return the lines above the table of layers."""
        spec = self.spec
        origin = f" ({spec.year}): {spec.paper}" if spec.year else ""
        image = _times((spec.in_channels, self.image_size, self.image_size))
        lines = [
            f"{spec.name}: {spec.family}{origin}",
            f"input {image}, {self.num_classes} classes, "
            f"total stride {spec.total_stride or 'unknown'}, stem: {spec.stem}",
        ]
        if spec.notes:
            lines.append(spec.notes)
        namesakes = find_namesakes(spec.name)
        if namesakes:
            lines.append(f"the libraries have models of this name too: {', '.join(namesakes)}")
        return [*lines, ""]

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row a layer: name, kind, kernel, output shape, parameters, multiply-adds."""
        rows: list[tuple[str, ...]] = []
        for layer in self.layers:
            name = layer.name or "(model)"
            kernel = self.kernels.get(layer.name, "")
            shape = _times(layer.output_shape)
            counts = (f"{layer.num_parameters:,}", f"{layer.multiply_adds:,}")
            rows.append((name, layer.kind, kernel, shape, *counts))
        return rows

    def footing(self) -> list[str]:
        """Return the lines below the table of layers."""
        if self.multiply_adds is None:
            return [f"{self.num_parameters:,} parameters; its code needs numbers: no layer counted"]
        # The paper counts as units what convolutions and linear layers give (section 3.5).
        counted = [layer for layer in self.layers if layer.multiply_adds and layer.output_shape]
        units = sum(math.prod(layer.output_shape) for layer in counted)
        megabytes = sum(layer.activation_bytes for layer in self.layers) / 1e6
        return [
            "",
            f"{self.num_parameters:,} parameters, {self.multiply_adds:,} multiply-adds, "
            f"{units:,} units, {megabytes:.1f} MB of activations an image (float32)",
            *describe_crossings(self.layers),
        ]


def describe(name: str, *, num_classes: int = 100, image_size: int | None = None) -> Description:
    """Build a model without its numbers and count it at `image_size`, by default its own.

    Raise ValueError as `zoo.create_model` does.
    """
    spec = registry.resolve(name, num_classes=num_classes)
    size = image_size or spec.image_size
    model = registry.create_empty(name, num_classes=num_classes)
    layers = cost.try_layer_costs(model, image_size=size, in_channels=spec.in_channels)
    kernels = {layer.name: describe_kernel(model.get_submodule(layer.name)) for layer in layers}
    return Description(
        spec=spec,
        num_classes=num_classes,
        image_size=size,
        layers=layers,
        kernels=kernels,
        num_parameters=cost.count_parameters(model),
    )


def describe_kernel(layer: nn.Module) -> str:
    """Say what one unit of a convolution reads, as the AlexNet paper does.

    5x5x48 is 5 by 5 pixels of 48 maps; empty for any other layer.
    """
    if not isinstance(layer, nn.Conv2d):
        return ""
    _, num_maps, height, width = layer.weight.shape
    return _times((height, width, num_maps))


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
