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

from bench.results.interval import MIN_VALUES, median_interval, rounds_needed
from bench.results.verdict import DISTURBANCE

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
# Times the seconds, for rounds without which no verdict is possible and for those that others
# disturbed.
OVERTIME = 2.0
STRETCH_SECONDS = 1.0  # of rounds that are judged together: the kernel counts in ticks of 10 ms


@dataclass
class Turns:
    """Seconds by contestant and metric.

    `values[contestant][metric][round]`, the warm-up apart, and who went when. `set_aside` holds the
    values of rounds that others disturbed and that were made again. Where there weren't enough
    others, `values` are of disturbed rounds too, and `disturbed` says how many cores were taken.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    warmup: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    set_aside: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    order: list[tuple[str, ...]] = field(default_factory=list)
    ended_by: Reason = "pairs"
    disturbed: float = 0.0


@dataclass
class _Stretches:
    """The rounds so far, judged stretch by stretch: were others' processes in their way?"""

    start: float  # of the stretch under way
    quiet: list[bool] = field(default_factory=list)  # a judged round
    lost_seconds: float = 0.0  # in rounds that were disturbed
    taken: float = 0.0  # core seconds, in them

    def judge(self, num_rounds: int, taken: float, now: float) -> None:
        """End a stretch, up to round `num_rounds`, in which others took so many cores."""
        is_quiet = taken <= DISTURBANCE
        self.quiet += [is_quiet] * (num_rounds - len(self.quiet))
        if not is_quiet:
            self.lost_seconds += now - self.start
            self.taken += taken * (now - self.start)
        self.start = now

    def num_disturbed(self) -> int:
        """Count the rounds that were disturbed."""
        return self.quiet.count(False)


def take_turns(
    visits: Mapping[str, Visit],
    *,
    rounds: int | None,
    seconds: float,
    seed: int,
    agree: Agree = answer_alone,
    check: Callable[[], None] = lambda: None,
    watch: Callable[[], float] = lambda: 0.0,
) -> Turns:
    """Visit every contestant once a round, for `rounds` rounds or until all ratios are known.

    Without `rounds` that is until every contestant's ratio to the first is known to +-1 %.

    `seconds` bounds the latter, or up to twice as long where fewer rounds could prove nothing of so
    many pairs (never fewer than three rounds). `agree` gives all processes one answer, `check` may
    raise between rounds. The interval is that of each contestant's ratio to the first one, over
    rounds.

    `watch` returns how many cores others took since it was last called: rounds in which it was more
    than DISTURBANCE are set aside and made again, up to twice the time or twice the rounds.
    """
    turns = Turns()
    for name, visit in visits.items():
        turns.warmup[name] = _warm_up(visit, agree)
        turns.values[name] = {metric: [] for metric in turns.warmup[name]}
    draw = random.Random(seed)
    watch()  # what was before is none of the rounds'
    start = time.perf_counter()
    stretches = _Stretches(start)
    while True:
        check()
        names = draw.sample(list(visits), len(visits))
        turns.order.append(tuple(names))
        for name in names:
            _append(turns.values[name], visits[name]())
        now = time.perf_counter()
        reason = agree(_ended(turns, stretches, rounds, seconds, now - start))
        if reason or agree(now - stretches.start) >= STRETCH_SECONDS:
            stretches.judge(len(turns.order), watch(), now)
            reason = reason and agree(_ended(turns, stretches, rounds, seconds, now - start))
        if reason:
            turns.ended_by = reason
            _set_aside(turns, stretches, min(rounds or MIN_VALUES, MIN_VALUES))
            return turns


def _set_aside(turns: Turns, stretches: _Stretches, least: int) -> None:
    """Take the disturbed rounds out, where at least so many others remain."""
    num_disturbed = stretches.num_disturbed()
    if not num_disturbed:
        return
    if len(turns.order) - num_disturbed < least:
        turns.disturbed = stretches.taken / stretches.lost_seconds
        return
    quiet = np.asarray(stretches.quiet)
    for name, rows in turns.values.items():
        turns.set_aside[name] = {}
        for metric, values in rows.items():
            turns.set_aside[name][metric] = np.asarray(values)[~quiet].tolist()
            rows[metric] = np.asarray(values)[quiet].tolist()
    turns.order = [names for names, kept in zip(turns.order, quiet, strict=True) if kept]


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


def _ended(
    turns: Turns, stretches: _Stretches, rounds: int | None, seconds: float, elapsed: float
) -> Reason | None:
    """Return why no more rounds are needed; those that were disturbed don't count."""
    total = len(turns.order)
    done = total - stretches.num_disturbed()
    if rounds is not None:
        return "pairs" if done >= rounds or total >= OVERTIME * rounds else None
    until_next = elapsed * (1 + 1 / total)  # at the end of another round like those before
    needed = rounds_needed(math.comb(len(turns.values), 2))
    allowed = min(OVERTIME * seconds, seconds + stretches.lost_seconds)
    enough = done >= needed or until_next > OVERTIME * seconds
    if total >= MIN_ROUNDS and until_next > allowed and enough:
        return "seconds"
    is_due = done % CHECK_INTERVAL_EVERY == 0 and done >= 2 * CHECK_INTERVAL_EVERY
    return "interval" if is_due and _narrow(turns, stretches) else None


def _narrow(turns: Turns, stretches: _Stretches) -> bool:
    """Tell whether every contestant's ratio to the first is known to +-1 %, for every metric.

    Not so where there is only one contestant.
    """
    reference, *others = turns.values.values()
    if not others:
        return False
    # The rounds of the stretch under way count as quiet until it is judged.
    quiet = np.ones(len(turns.order), dtype=bool)
    quiet[: len(stretches.quiet)] = stretches.quiet
    for other in others:
        # A library that can't run one model may run another.
        for metric in other.keys() & reference.keys():
            values = other[metric]
            ratios = np.asarray(values)[quiet] / np.asarray(reference[metric])[quiet]
            low, high = median_interval(np.log(ratios))
            if (high - low) / 2 > HALF_WIDTH:
                return False
    return True


def _append(lists: dict[str, list[float]], values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        lists.setdefault(metric, []).append(value)
