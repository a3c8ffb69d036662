"""Limits as people write them: `latency_ms_p95<=5 ms, peak_memory_bytes<=200MB`. No numpy."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bench.results.metric import Column

# Of each kind of figure, what its columns' own unit is multiplied by.
BYTES = {
    "B": 1.0,
    "bytes": 1.0,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
UNITS = {
    "ms": {"ms": 1.0, "s": 1e3, "us": 1e-3},
    "seconds": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0},
    "bytes": BYTES,
    "count": COUNTS,
}
ONE = re.compile(r"\s*([\w .-]+?)\s*(<=|>=|=<|=>|[<>=≤≥])\s*([-+\d][-+\d._eE]*)\s*(\S*)\s*")
SIGNS = {"<=": "<=", "=<": "<=", "<": "<=", "≤": "<=", ">=": ">=", "=>": ">=", ">": ">=", "≥": ">="}
CUTOFF = 0.5  # difflib's similarity, the same as for every other name that is refused


@dataclass(frozen=True)
class Limit:
    """What a column's figure may be at most or at least, in the column's own unit."""

    column: str
    sign: str  # <= or >=
    value: float

    @property
    def text(self) -> str:
        """The limit as `parse_limits` reads it."""
        return f"{self.column}{self.sign}{self.value:.12g}"


def units_of(column: Column) -> dict[str, float]:
    """Return the units that a column's limit may be in, and how many of the column's own each is.

    The column's own is among them, and its name is empty where it has none.
    """
    return UNITS.get(column.kind) or {column.unit: 1.0}


def parse_limits(text: str, columns: Mapping[str, Column]) -> tuple[Limit, ...]:
    """Return the limits of a text, separated by commas, on these columns.

    Raise ValueError, naming what is allowed, for a column, a number or a unit that isn't there.
    """
    return tuple(_parse_limit(part, columns) for part in text.split(",") if part.strip())


def _parse_limit(part: str, columns: Mapping[str, Column]) -> Limit:
    found = ONE.fullmatch(part)
    if not found or found[2] not in SIGNS:
        raise ValueError(f"{part.strip()}: write COLUMN<=NUMBER or COLUMN>=NUMBER, with a unit")
    name, sign, number, unit = found.groups()
    column = find_column(name, columns)
    try:
        value = float(number)
    except ValueError as error:
        raise ValueError(f"{part.strip()}: {number} is no number") from error
    units = units_of(column)
    # Nobody is told that it is MB and not mb.
    unit = next((each for each in units if each.lower() == unit.lower()), unit)
    if unit and unit not in units:
        known = ", ".join(each for each in units if each)
        raise ValueError(
            f"{part.strip()}: {unit} is no unit of {column.key}; "
            + (f"it takes {known}" if known else "it takes a plain number")
        )
    value *= units[unit] if unit else 1.0
    if not math.isfinite(value):
        raise ValueError(f"{part.strip()}: {number} is too large")
    return Limit(column.key, SIGNS[sign], value)


def find_column(name: str, columns: Mapping[str, Column]) -> Column:
    """Return a column by its name in the CSV. Raise ValueError with the nearest names for another.

    The titles of the page's table lead to their columns' names.
    """
    if name in columns:
        return columns[name]
    by_title = {column.title.lower(): key for key, column in columns.items() if column.title}
    near = difflib.get_close_matches(name.lower(), [*columns, *by_title], n=3, cutoff=CUTOFF)
    keys = dict.fromkeys(by_title.get(each, each) for each in near)
    hint = f"did you mean {' or '.join(keys)}?" if keys else f"choose from {', '.join(columns)}"
    raise ValueError(f"{name}: no such column; {hint}")
