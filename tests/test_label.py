"""Names beside points. Oracle: rectangles worked out again here from where plotly puts a text."""

from hypothesis import given
from hypothesis import strategies as st

from reports.chart.label import (
    CHARACTER,
    GAP,
    HEIGHT,
    LINE,
    WIDTH,
    Place,
    Point,
    place_labels,
)


def bare(points: list[tuple[float, float]]) -> list[Point]:
    """Points without intervals."""
    return [Point(x, y, (x, x), (y, y)) for x, y in points]


points_of = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


def pixels(values: list[float], size: float) -> list[float]:
    low, high = min(values), max(values)
    return [
        size * (0.07 + 0.86 * ((v - low) / (high - low) if high > low else 0.5)) for v in values
    ]


def rectangle(place: Place, x: float, y: float, width: float) -> tuple[float, float, float, float]:
    if place.shift is not None:
        left, top = x + place.shift[0] - width / 2, y + place.shift[1] - LINE / 2
    else:
        vertical, horizontal = place.side.split()
        left = {"left": x - GAP - width, "center": x - width / 2, "right": x + GAP}[horizontal]
        top = {"top": y - GAP - LINE, "middle": y - LINE / 2, "bottom": y + GAP}[vertical]
    return left, top, left + width, top + LINE


@given(points_of)
def test_no_name_covers_another_or_a_point(points: list[tuple[float, float]]) -> None:
    names = [f"network_{i}" for i in range(len(points))]
    places = place_labels(bare(points), names, [False] * len(points), log_x=False)
    where = list(
        zip(
            pixels([x for x, _ in points], WIDTH),
            pixels([-y for _, y in points], HEIGHT),
            strict=True,
        )
    )
    boxes = [
        (i, rectangle(place, *where[i], CHARACTER * len(names[i])))
        for i, place in enumerate(places)
        if place != Place()
    ]
    for i, (left, top, right, bottom) in boxes:
        for j, (x, y) in enumerate(where):
            inside = (
                left + 2 < x < right - 2 and top + 2 < y < bottom - 2
            )  # a shift is of whole pixels
            assert i == j or not inside
        for j, other in boxes:
            apart = (
                right < other[0] + 2
                or other[2] < left + 2
                or bottom < other[1] + 2
                or other[3] < top + 2
            )
            assert i == j or apart


def test_a_point_between_neighbours_is_named_at_a_lines_end() -> None:
    around = [(0.5 + 0.02 * i, 0.5 + 0.04 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)] + [
        (0.0, 0.0),
        (1.0, 1.0),
    ]
    places = place_labels(
        bare(around), ["a_long_name_of_a_network"] * len(around), [False] * len(around), log_x=False
    )
    assert all(place != Place() for place in places)
    assert any(place.shift is not None for place in places)


def test_a_name_gives_way_to_the_bar_of_a_neighbour() -> None:
    left, right = (0.0, 0.0), (1.0, 1.0)
    pair = bare([left, (0.1, 0.5), right])
    names = ["a_network_named_long"] * 3
    beside = place_labels(pair, names, [False] * 3, log_x=False)[0]
    assert beside.side == "middle right"
    # The neighbour's interval now reaches down to where that name would stand.
    pair[1] = Point(0.1, 0.5, (0.1, 0.1), (0.0, 1.0))
    moved = place_labels(pair, names, [False] * 3, log_x=False)[0]
    assert moved != beside
