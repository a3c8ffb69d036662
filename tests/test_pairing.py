"""Taking turns. Oracle: contestants whose seconds are known, and a clock that the test moves."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bench.measure import turns as pairing
from bench.measure.turns import Visit, take_turns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that only visits move."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(pairing.time, "perf_counter", lambda: Clock.now)
    return Clock


def contestant(
    clock: Any, name: str, seconds: float, seen: list[str], spread: float = 0.0
) -> Visit:
    draw = np.random.default_rng(len(name))

    def visit() -> Mapping[str, float]:
        seen.append(name)
        took = seconds * (1 + spread * draw.standard_normal())
        clock.now += took
        return {"step": took}

    return visit


def test_every_round_visits_all_once_in_an_order_drawn_afresh(clock: Any) -> None:
    seen: list[str] = []
    visits = {name: contestant(clock, name, 0.1, seen) for name in "abcd"}
    turns = take_turns(visits, rounds=40, seconds=1, seed=0)
    num_warm = sum(len(values["step"]) for values in turns.warmup.values())
    rounds = (
        list(itertools.batched(seen[num_warm:], 4))
        if hasattr(itertools, "batched")
        else [tuple(seen[i : i + 4]) for i in range(num_warm, len(seen), 4)]
    )
    assert rounds == turns.order
    assert len(rounds) == 40
    assert all(sorted(names) == list("abcd") for names in rounds)
    first = Counter(names[0] for names in rounds)
    assert len(set(rounds)) > 10
    assert set(first) == set("abcd")
    assert all(len(values["step"]) == 40 for values in turns.values.values())
    assert turns.ended_by == "pairs"


def test_the_time_bound_ends_the_rounds_but_never_before_three(clock: Any) -> None:
    seen: list[str] = []
    quick = take_turns(
        {"a": contestant(clock, "a", 0.1, seen, 0.5)}, rounds=None, seconds=2.0, seed=0
    )
    assert quick.ended_by == "seconds"
    assert 3 <= len(quick.order) <= 2.0 / 0.05
    slow = take_turns({"a": contestant(clock, "a", 9.0, seen)}, rounds=None, seconds=2.0, seed=0)
    assert len(slow.order) == 3


def test_so_many_pairs_get_the_rounds_that_a_verdict_takes_in_twice_the_time(clock: Any) -> None:
    """Of 28 pairs one is proven by Holm at 2 / 2^n < 0.05 / 28.

    11 rounds (of 0.8 s here), never beyond 2 x seconds.
    """
    seen: list[str] = []
    names = ["a" * i for i in range(1, 9)]  # a contestant draws by the length of its name
    for seconds, expected in ((6.0, 11), (4.0, 9), (20.0, 24)):
        visits = {name: contestant(clock, name, 0.1, seen, 0.1) for name in names}
        turns = take_turns(visits, rounds=None, seconds=seconds, seed=0)
        assert (turns.ended_by, len(turns.order)) == ("seconds", pytest.approx(expected, abs=1))


def test_rounds_end_once_the_ratios_are_known(clock: Any) -> None:
    seen: list[str] = []
    visits = {name: contestant(clock, name, 0.1, seen, 0.001) for name in ("a", "bb")}
    turns = take_turns(visits, rounds=None, seconds=1e9, seed=0)
    assert turns.ended_by == "interval"
    assert len(turns.order) == 20


def test_warm_up_goes_on_until_its_halves_agree_and_is_kept_apart(clock: Any) -> None:
    times = iter([1.0, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, *itertools.repeat(0.1, 100)])

    def visit() -> Mapping[str, float]:
        return {"step": next(times)}

    turns = take_turns({"a": visit}, rounds=5, seconds=1, seed=0)
    assert turns.warmup["a"]["step"][:2] == [1.0, 0.5]
    assert 1.0 not in turns.values["a"]["step"]
    assert len(turns.values["a"]["step"]) == 5


def test_the_order_is_the_seeds(clock: Any) -> None:
    def order(seed: int) -> list[tuple[str, ...]]:
        return take_turns(
            {n: contestant(clock, n, 0.1, []) for n in "abc"}, rounds=9, seconds=1, seed=seed
        ).order

    assert order(1) == order(1) != order(2)
