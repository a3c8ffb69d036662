"""Colours of the page's marks, a set for each theme, and which family gets which."""

from collections.abc import Iterable
from typing import NamedTuple

GROUND = {"light": "#ffffff", "dark": "#14181d"}
# Eight hues with a contrast of at least 3:1 against the ground of their theme, and apart from each
# other under simulated colour blindness; a test holds both. Where hues repeat, shapes differ.
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
# plotly's names; the template draws the same ten as symbols s0 to s9.
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
# Each of the first ten families has a shape of its own. The next ten and the ten after have the
# same shapes again, in hues that are apart from the first one's, and from each other, in every
# simulated blindness: the hues of a shape's first, second and third family.
HUES_OF_SHAPE = (
    (0, 1, 5),
    (1, 0, 5),
    (2, 1, 3),
    (3, 1, 2),
    (4, 0, 6),
    (5, 0, 1),
    (6, 0, 4),
    (7, 2, 6),
)


class Mark(NamedTuple):
    """A colour and a shape, by number."""

    hue: int
    shape: int


def assign_marks(families: Iterable[str]) -> dict[str, Mark]:
    """Give each family a colour and a shape, the same in every chart of the page."""
    marks = {}
    for number, family in enumerate(sorted(set(families))):
        times_used, shape = divmod(number, len(SHAPES))
        hues = HUES_OF_SHAPE[shape % len(HUES_OF_SHAPE)]
        marks[family] = Mark(hues[times_used % len(hues)], shape)
    return marks
