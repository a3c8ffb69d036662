"""Interleaving: models are visited in turn, each round in an order drawn afresh.

So a machine that gets slower isn't taken for a model that is.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np

from bench.results.interval import median_interval, rounds_needed

T = TypeVar("T")
Visit = Callable[[], Mapping[str, float]]  # runs one model once; seconds by metric
Reason = Literal["interval", "seconds", "pairs"]


class Agree(Protocol):
    """Gives all processes of the world one answer."""

    def __call__(self, value: T, /) -> T: ...


def answer_alone(value: T, /) -> T:
    """Return the answer of a process that is the whole world."""
    return value


MIN_ROUNDS = 3
WARM_VISITS = (4, 16)  # the least, and the most
WARM_SECONDS = 2.0
WARM_AGREEMENT = 0.1  # warm when the medians of two halves differ by less
CHECK_INTERVAL_EVERY = 10  # rounds
HALF_WIDTH = 0.01
OVERTIME = 2.0  # times the seconds, for the rounds without which no verdict is possible


@dataclass
class Turns:
    """Seconds by contestant and metric.

    `values[contestant][metric][round]`, the warm-up apart, and who went when.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    warmup: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    order: list[tuple[str, ...]] = field(default_factory=list)
    ended_by: Reason = "pairs"


def take_turns(
    visits: Mapping[str, Visit],
    *,
    rounds: int | None,
    seconds: float,
    seed: int,
    agree: Agree = answer_alone,
    check: Callable[[], None] = lambda: None,
) -> Turns:
    """Visit every contestant once a round, for `rounds` rounds or until all ratios are known.

    Without `rounds` that is until every contestant's ratio to the first is known to +-1 %.

    `seconds` bounds the latter, or up to twice as long where fewer rounds could prove nothing of so
    many pairs (never fewer than three rounds). `agree` gives all processes one answer, `check` may
    raise between rounds. The interval is that of each contestant's ratio to the first one, over
    rounds.
    """
    turns = Turns()
    for name, visit in visits.items():
        turns.warmup[name] = _warm_up(visit, agree)
        turns.values[name] = {metric: [] for metric in turns.warmup[name]}
    draw = random.Random(seed)
    start = time.perf_counter()
    while True:
        check()
        names = draw.sample(list(visits), len(visits))
        turns.order.append(tuple(names))
        for name in names:
            _append(turns.values[name], visits[name]())
        reason = agree(_ended(turns, rounds, seconds, time.perf_counter() - start))
        if reason:
            turns.ended_by = reason
            return turns


def _warm_up(visit: Visit, agree: Agree) -> dict[str, list[float]]:
    """Visit until the medians of the two halves of all visits agree, or time is up."""
    seen: dict[str, list[float]] = {}
    start = time.perf_counter()
    while True:
        _append(seen, visit())
        if agree(_is_warm(next(iter(seen.values())), time.perf_counter() - start)):
            return seen


def _is_warm(values: list[float], elapsed: float) -> bool:
    least, most = WARM_VISITS
    if len(values) >= most or elapsed > WARM_SECONDS:
        return True
    if len(values) < least:
        return False
    half = len(values) // 2
    first, second = statistics.median(values[:half]), statistics.median(values[half:])
    return abs(first / second - 1) < WARM_AGREEMENT


def _ended(turns: Turns, rounds: int | None, seconds: float, elapsed: float) -> Reason | None:
    done = len(turns.order)
    if rounds is not None:
        return "pairs" if done >= rounds else None
    until_next = elapsed * (1 + 1 / done)  # at the end of another round like those before
    needed = rounds_needed(math.comb(len(turns.values), 2))
    enough = done >= needed or until_next > OVERTIME * seconds
    if done >= MIN_ROUNDS and until_next > seconds and enough:
        return "seconds"
    if done % CHECK_INTERVAL_EVERY == 0 and done >= 2 * CHECK_INTERVAL_EVERY and _narrow(turns):
        return "interval"
    return None


def _narrow(turns: Turns) -> bool:
    """Tell whether every contestant's ratio to the first is known to +-1 %, for every metric.

    Not so where there is only one contestant.
    """
    reference, *others = turns.values.values()
    if not others:
        return False
    for other in others:
        for metric, values in other.items():
            ratios = np.asarray(values) / np.asarray(reference[metric])
            low, high = median_interval(np.log(ratios))
            if (high - low) / 2 > HALF_WIDTH:
                return False
    return True


def _append(lists: dict[str, list[float]], values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        lists.setdefault(metric, []).append(value)
