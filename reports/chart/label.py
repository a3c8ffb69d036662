"""Direct labels of points: where each name stands, so that none covers another."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Pixels of the plot that places are worked out for. On a narrower one the page leaves names out.
WIDTH, HEIGHT = 820.0, 330.0
STRETCH = 1.45  # by which the widest plot is wider: names keep their length, intervals grow with it
MARGIN = 0.07  # of the plot at each end of an axis, as plotly leaves it
OVERHANG = 20.0  # pixels that a name may reach beyond the plot's sides
# Pixels of a letter's width, of a line's height, from a point to its name, of half a mark, and of
# half an interval's bar with what its ends stand out.
CHARACTER, LINE, GAP, HALF_MARK, HALF_BAR = 6.6, 14.0, 9.0, 5.0, 3.0
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


class Point(NamedTuple):
    """A point and its intervals, which are drawn as bars; without one both ends are the value."""

    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]


class Place(NamedTuple):
    """Where a name stands; with neither a side nor a shift there was no room for it.

    Beside its point (plotly's `textposition`), or `shift` pixels away at a line's end.
    """

    side: str = ""
    shift: tuple[float, float] | None = None


def place_labels(
    points: Sequence[Point], names: Sequence[str], first: Sequence[bool], *, log_x: bool
) -> list[Place]:
    """Return a free place for each name: beside its point, else tied to it by a line, else none.

    It covers no name, no mark and no bar of an interval. Names of points in `first` are placed
    before the others, and all that stand beside their points before the rest.
    """
    across = [(point.x, *point.x_ends) for point in points]
    down = [tuple(-y for y in (point.y, *point.y_ends)) for point in points]  # as pixels count
    taken: list[Box] = []
    xs, ys = [], []
    in_pixels = zip(_to_pixels(across, WIDTH, log=log_x), _to_pixels(down, HEIGHT), strict=True)
    for (x, left, right), (y, bottom, top) in in_pixels:
        xs.append(x)
        ys.append(y)
        taken.append((x - HALF_MARK, y - HALF_MARK, x + HALF_MARK, y + HALF_MARK))
        taken.append((x - HALF_BAR, top, x + HALF_BAR, bottom))
        left, right = x + STRETCH * (left - x), x + STRETCH * (right - x)
        taken.append((left - HALF_BAR, y - HALF_BAR, right + HALF_BAR, y + HALF_BAR))
    waiting = [i for i in range(len(points)) if first[i] or len(points) <= MAX_NAMED]
    waiting.sort(key=lambda i: not first[i])
    placed = [Place()] * len(points)
    for list_places in (_places_beside, _places_around):
        for i in waiting:
            for place, box in list_places(xs[i], ys[i], CHARACTER * len(names[i])):
                if _is_free(box, taken):
                    placed[i] = place
                    taken.append(box)
                    break
        waiting = [i for i in waiting if placed[i] == Place()]
    return placed


def _to_pixels(
    rows: Sequence[tuple[float, ...]], size: float, *, log: bool = False
) -> list[list[float]]:
    """Return places in pixels on an axis with a margin at both ends."""
    # An interval that reaches 0 or below ends somewhere left of a logarithmic axis: at its value.
    scaled = [[math.log(v if v > 0 else row[0]) if log else v for v in row] for row in rows]
    low = min(min(row) for row in scaled)
    high = max(max(row) for row in scaled)
    length = size * (1 - 2 * MARGIN)
    places = []
    for row in scaled:
        shares = [(value - low) / (high - low) if high > low else 0.5 for value in row]
        places.append([size * MARGIN + length * share for share in shares])
    return places


def _places_beside(x: float, y: float, width: float) -> Iterator[tuple[Place, Box]]:
    """Yield the box that a name takes on each side of its point."""
    lefts = {
        "left": x - GAP - width,
        "center": x - width / 2,
        "right": x + GAP,
    }
    tops = {
        "top": y - GAP - LINE,
        "middle": y - LINE / 2,
        "bottom": y + GAP,
    }
    for side in SIDES:
        vertical, horizontal = side.split()
        left, top = lefts[horizontal], tops[vertical]
        yield Place(side), (left, top, left + width, top + LINE)


def _places_around(x: float, y: float, width: float) -> Iterator[tuple[Place, Box]]:
    """Yield the box that a name takes at the end of a line from its point, near ones first."""
    for reach in REACHES:
        for turn in range(DIRECTIONS):
            angle = 2 * math.pi * turn / DIRECTIONS
            across, down = reach * math.cos(angle), reach * math.sin(angle)
            # The line ends at the name's side, except straight above and below the point.
            if abs(across) > 1:
                across += math.copysign(width / 2, across)
            left = x + across - width / 2
            top = y + down - LINE / 2
            place = Place(shift=(round(across), round(down)))
            yield place, (left, top, left + width, top + LINE)


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    """Return whether a box is in the plot and covers nothing."""
    left, top, right, bottom = box
    inside = left > -OVERHANG and right < WIDTH + OVERHANG and top > 0 and bottom < HEIGHT
    if not inside:
        return False
    for other in taken:
        beside = left >= other[2] or right <= other[0]
        above_or_below = top >= other[3] or bottom <= other[1]
        if not beside and not above_or_below:
            return False
    return True
