"""Colours of the page's marks, a set for each theme, and which family gets which colour and shape."""

from collections.abc import Iterable
from typing import NamedTuple

# Eight hues that stand at least 3:1 against the ground of their theme and apart from each other
# under simulated colour blindness; a test holds both. Where hues repeat, shapes tell series apart.
GROUND = {"light": "#ffffff", "dark": "#14181d"}
HUES = {
    "light": (
        "#1f6fb4",
        "#b54708",
        "#0b7a55",
        "#8a3ffc",
        "#a3195b",
        "#5b6470",
        "#8a6d00",
        "#2f3fb0",
    ),
    "dark": (
        "#62b0f2",
        "#f2a25c",
        "#43c795",
        "#b794ff",
        "#f58ab8",
        "#aab4c0",
        "#dcc04a",
        "#8fa0ff",
    ),
}
SHAPES = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "pentagon",
    "star",
    "hexagon",
    "cross",
    "x",
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# Of the first ten families each has a shape of its own. The next ten and the ten after have the
# same shapes again, in hues that are apart from the first one's, and from each other, in every
# simulated blindness.
NEXT_HUES = ((0, 1, 5), (1, 0, 5), (2, 1, 3), (3, 1, 2), (4, 0, 6), (5, 0, 1), (6, 0, 4), (7, 2, 6))


class Mark(NamedTuple):
    """A colour and a shape, by number."""

    hue: int
    shape: int


def marks_of(families: Iterable[str]) -> dict[str, Mark]:
    """A colour and a shape for each family, by name, so that a family looks alike in every chart of the page."""
    return {family: mark(i) for i, family in enumerate(sorted(set(families)))}


def mark(number: int) -> Mark:
    """The mark of the family with this number."""
    round_, place = divmod(number, len(SHAPES))
    return Mark(NEXT_HUES[place % len(NEXT_HUES)][round_ % 3], place)
