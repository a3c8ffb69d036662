"""Numbers with their intervals in words. No torch."""

import math
from collections.abc import Iterable, Sequence

from bench.results.interval import CONFIDENCE, Estimate, holm


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


def say_verdicts(
    differences: Sequence[tuple[Estimate, float]],
    above: str = "proven better",
    below: str = "proven worse",
) -> list[str]:
    """Say of each difference what its p proves, adjusted for how many there are (Holm 1979)."""
    adjusted = holm([p for _, p in differences])
    return [
        "undecided" if p > 1 - CONFIDENCE else above if difference.value > 0 else below
        for (difference, _), p in zip(differences, adjusted, strict=True)
    ]


def say_seeds(number: int) -> str:
    """Say what intervals over so many seeds cover."""
    if number == 1:
        return "Intervals cover the test images; there is one seed."
    return f"Intervals cover the test images and {number} seeds."


def say_count(number: int, noun: str) -> str:
    """Return a number of things: `1 seed`, `3 seeds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def join_names(names: Iterable[str]) -> str:
    """Return names as a list in a sentence: `a, b and c`."""
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last
