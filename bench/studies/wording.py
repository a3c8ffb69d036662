"""Numbers with their intervals in words. No torch."""

import math
from collections.abc import Iterable

from bench.results.interval import Estimate


def say_estimate(estimate: Estimate, unit: str, *, digits: int = 1, signed: bool = False) -> str:
    """Return a value with its unit and interval: `6.1 times (5.2 to 7.3)`."""
    sign = "+" if signed else ""
    value, low, high = (f"{number:{sign}.{digits}f}" for number in estimate)
    if not math.isfinite(estimate.low) or not math.isfinite(estimate.high):
        return f"{value} {unit} (one seed, no interval)"
    return f"{value} {unit} ({low} to {high})"


def say_proof(
    difference: Estimate, above: str = "proven better", below: str = "proven worse"
) -> str:
    """Say what the interval of a difference proves."""
    if difference.low > 0:
        return above
    return below if difference.high < 0 else "undecided"


def say_count(number: int, noun: str) -> str:
    """Return a number of things: `1 seed`, `3 seeds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def join_names(names: Iterable[str]) -> str:
    """Return names as a list in a sentence: `a, b and c`."""
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last
