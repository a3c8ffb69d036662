"""Direct labels of points: where each name stands, so that none covers another."""

import math
from collections.abc import Iterator, Sequence

WIDTH, HEIGHT = 820.0, 400.0  # pixels of the plot that places are worked out for
CHARACTER, LINE, GAP = 6.6, 14.0, 9.0  # pixels of a letter's width, a line's height, and from a point to its name
SIDES = ("middle right", "middle left", "top right", "top left", "bottom right", "bottom left", "top center",
         "bottom center")  # fmt: skip
MAX_NAMED = 60  # with more points only those in `first` are named

Box = tuple[float, float, float, float]  # left, top, right, bottom


def place_labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], first: Sequence[bool], *, log_x: bool
) -> list[str]:
    """The side of each point on which its name is free (plotly's `textposition`), empty where none is.

    Names of points in `first` are placed before the others.
    """
    where = list(
        zip(_pixels([x for x, _ in points], WIDTH, log=log_x), _pixels([-y for _, y in points], HEIGHT), strict=True)
    )
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in where]
    placed = [""] * len(points)
    candidates = [i for i in range(len(points)) if first[i] or len(points) <= MAX_NAMED]
    for i in sorted(candidates, key=lambda i: not first[i]):
        for side, box in _boxes(*where[i], CHARACTER * len(names[i])):
            if (
                box[0] > -20
                and box[2] < WIDTH + 20
                and not any(_overlap(box, other) for j, other in enumerate(taken) if j != i)
            ):
                placed[i] = side
                taken.append(box)
                break
    return placed


def _pixels(values: Sequence[float], size: float, *, log: bool = False) -> list[float]:
    """Places in pixels on an axis with a margin of 7 % at both ends."""
    scaled = [math.log(value) if log else value for value in values]
    low, high = min(scaled), max(scaled)
    return [size * (0.07 + 0.86 * ((value - low) / (high - low) if high > low else 0.5)) for value in scaled]


def _boxes(x: float, y: float, width: float) -> Iterator[tuple[str, Box]]:
    """The box that a name takes on each side of its point."""
    across = {"left": x - GAP - width, "center": x - width / 2, "right": x + GAP}
    down = {"top": y - GAP - LINE, "middle": y - LINE / 2, "bottom": y + GAP}
    for side in SIDES:
        vertical, horizontal = side.split()
        left, top = across[horizontal], down[vertical]
        yield side, (left, top, left + width, top + LINE)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
