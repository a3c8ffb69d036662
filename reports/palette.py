"""Colours of the page's marks, a set for each theme, and which family gets which colour and shape."""

from collections.abc import Iterable
from typing import NamedTuple

# Eight hues that stand at least 3:1 against the ground of their theme and apart from each other under simulated
# colour blindness; a test holds both. Where hues repeat, shapes tell series apart.
GROUND = {"light": "#ffffff", "dark": "#14181d"}
HUES = {
    "light": ("#1f6fb4", "#b54708", "#0b7a55", "#8a3ffc", "#a3195b", "#5b6470", "#8a6d00", "#2f3fb0"),
    "dark": ("#62b0f2", "#f2a25c", "#43c795", "#b794ff", "#f58ab8", "#aab4c0", "#dcc04a", "#8fa0ff"),
}
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star", "hexagon", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


class Mark(NamedTuple):
    """A colour and a shape, by number."""

    hue: int
    shape: int


def marks_of(families: Iterable[str]) -> dict[str, Mark]:
    """A colour and a shape for each family, by name, so that a family looks alike in every chart of the page."""
    return {family: Mark(i % len(HUES["light"]), i % len(SHAPES)) for i, family in enumerate(sorted(set(families)))}
