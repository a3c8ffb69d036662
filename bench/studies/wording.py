"""Numbers with their intervals in words. No torch."""

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from bench.results.interval import CONFIDENCE, Estimate, holm

K = TypeVar("K")
BETTER, WORSE, UNDECIDED = "proven better", "proven worse", "undecided"


def say_estimate(estimate: Estimate, unit: str, *, digits: int = 1, signed: bool = False) -> str:
    """Return a value with its unit and interval: `6.1 times (5.2 to 7.3)`."""
    sign = "+" if signed else ""
    value, low, high = (f"{number:{sign}.{digits}f}" for number in estimate)
    if not math.isfinite(estimate.low) or not math.isfinite(estimate.high):
        return f"{value} {unit} (one seed, no interval)"
    return f"{value} {unit} ({low} to {high})"


def say_proof(difference: Estimate, above: str = BETTER, below: str = WORSE) -> str:
    """Say what the interval of a difference proves."""
    if difference.low > 0:
        return above
    return below if difference.high < 0 else UNDECIDED


def say_gains(gains: Mapping[K, tuple[Estimate, float]]) -> dict[K, str]:
    """Return each gain in points of top-1 with its interval, and what its p proves."""
    sentences = {}
    for key, verdict in say_verdicts(gains).items():
        points, _ = gains[key]
        # Its interval is of this gain alone, and would seem to prove it.
        leaves_out_0 = points.low > 0 or points.high < 0
        why = f" as one of {len(gains)}" if verdict == UNDECIDED and leaves_out_0 else ""
        sentences[key] = f"{say_estimate(points, 'points', signed=True)}, {verdict}{why}"
    return sentences


def say_verdicts(gains: Mapping[K, tuple[Estimate, float]]) -> dict[K, str]:
    """Say of each gain what its p proves, adjusted for how many there are (Holm 1979)."""
    adjusted = holm([p for _, p in gains.values()])
    return {
        key: UNDECIDED if p > 1 - CONFIDENCE else BETTER if points.value > 0 else WORSE
        for (key, (points, _)), p in zip(gains.items(), adjusted, strict=True)
    }


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
