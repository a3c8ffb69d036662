"""Direct labels of points: where each name stands, so that none covers another."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 820.0, 400.0  # pixels of the plot that places are worked out for
CHARACTER, LINE, GAP = (
    6.6,
    14.0,
    9.0,
)  # pixels of a letter's width, a line's height, and from a point to its name
SIDES = (
    "middle right",
    "middle left",
    "top right",
    "top left",
    "bottom right",
    "bottom left",
    "top center",
    "bottom center",
)
MAX_NAMED = 60  # with more points only those in `first` are named
REACHES = (34.0, 52.0, 72.0)  # pixels from a point to the middle of a name that a line ties to it
DIRECTIONS = 12

Box = tuple[float, float, float, float]  # left, top, right, bottom


class Place(NamedTuple):
    """Where a name stands.

    Beside its point (plotly's `textposition`), or `shift` pixels away at a line's end.
    """

    side: str = ""
    shift: tuple[float, float] | None = None


def place_labels(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    first: Sequence[bool],
    *,
    log_x: bool,
) -> list[Place]:
    """A free place for each name: beside its point, else tied to it by a line, else none.

    Names of points in `first` are placed before the others, and all that stand beside their points
    before the rest.
    """
    where = list(
        zip(
            _pixels([x for x, _ in points], WIDTH, log=log_x),
            _pixels([-y for _, y in points], HEIGHT),
            strict=True,
        )
    )
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in where]
    placed = [Place()] * len(points)
    waiting = sorted(
        (i for i in range(len(points)) if first[i] or len(points) <= MAX_NAMED),
        key=lambda i: not first[i],
    )
    for places in (_beside, _around):
        for i in waiting:
            for place, box in places(*where[i], CHARACTER * len(names[i])):
                if _fits(box) and not any(
                    _overlap(box, other) for j, other in enumerate(taken) if j != i
                ):
                    placed[i] = place
                    taken.append(box)
                    break
        waiting = [i for i in waiting if placed[i] == Place()]
    return placed


def _pixels(values: Sequence[float], size: float, *, log: bool = False) -> list[float]:
    """Places in pixels on an axis with a margin of 7 % at both ends."""
    scaled = [math.log(value) if log else value for value in values]
    low, high = min(scaled), max(scaled)
    return [
        size * (0.07 + 0.86 * ((value - low) / (high - low) if high > low else 0.5))
        for value in scaled
    ]


def _beside(x: float, y: float, width: float) -> Iterator[tuple[Place, Box]]:
    """The box that a name takes on each side of its point."""
    across = {"left": x - GAP - width, "center": x - width / 2, "right": x + GAP}
    down = {"top": y - GAP - LINE, "middle": y - LINE / 2, "bottom": y + GAP}
    for side in SIDES:
        vertical, horizontal = side.split()
        left, top = across[horizontal], down[vertical]
        yield Place(side), (left, top, left + width, top + LINE)


def _around(x: float, y: float, width: float) -> Iterator[tuple[Place, Box]]:
    """The box that a name takes at the end of a line from its point, near ones first."""
    for reach in REACHES:
        for turn in range(DIRECTIONS):
            angle = 2 * math.pi * turn / DIRECTIONS
            across, down = reach * math.cos(angle), reach * math.sin(angle)
            across += (
                math.copysign(width / 2, across) if abs(across) > 1 else 0.0
            )  # the line ends at the name's side
            left, top = x + across - width / 2, y + down - LINE / 2
            yield Place(shift=(round(across), round(down))), (left, top, left + width, top + LINE)


def _fits(box: Box) -> bool:
    return box[0] > -20 and box[2] < WIDTH + 20 and box[1] > 0 and box[3] < HEIGHT


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
