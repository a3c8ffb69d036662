"""Rounds that other processes disturbed: set aside, made again, said, and nothing claimed of them.

Oracle: a clock and a neighbour that the test sets; ratios that would otherwise be proven.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from bench.distributed.process import World
from bench.distributed.runtime import Runtime
from bench.distributed.watch import Watch
from bench.measure.turns import take_turns
from bench.results.record import Comparison, Measurement
from bench.results.verdict import (
    DISTURBANCE,
    rate_interval,
    speed_p_values,
    speed_ratio,
    verdict,
)
from bench.studies.twin_measurement import keep_core_busy
from reports.disturbance import describe_disturbances, is_disturbed, taken_in_training
from reports.pairs import SPEEDS, speed_pairs
from reports.ranking import Entry, entries_of, groups_of
from reports.runs import Cell, Run, Source, join_comparisons
from reports.terminal import rows_of
from reports.verdict_text import verdict_of
from tests.support.record_factory import ZOO, comparison, record

SECONDS_A_VISIT = 0.25


class Neighbour:
    """A clock of its own, and a process that takes a core between two times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: float, end: float) -> None:
        self.now, self.start, self.end, self.asked = 0.0, start, end, 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def visit(self) -> dict[str, float]:
        """Take twice as long while the core is taken."""
        seconds = SECONDS_A_VISIT * (2 if self.start <= self.now < self.end else 1)
        self.now += seconds
        return {"m": seconds}

    def watch(self) -> float:
        """Return the cores taken since the last call."""
        since, self.asked = self.asked, self.now
        overlap = min(self.now, self.end) - max(since, self.start)
        return max(0.0, overlap) / max(self.now - since, 1e-9)


def test_disturbed_rounds_are_kept_apart_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = Neighbour(monkeypatch, 6.0, 9.0)
    visits = {"a": neighbour.visit, "b": neighbour.visit}
    turns = take_turns(visits, rounds=20, seconds=99, seed=0, watch=neighbour.watch)
    assert len(turns.order) == 20
    assert turns.disturbed == 0
    assert set(turns.values["a"]["m"]) == {SECONDS_A_VISIT}
    assert 3 <= len(turns.set_aside["a"]["m"]) <= 8
    assert max(turns.set_aside["a"]["m"]) == 2 * SECONDS_A_VISIT


@pytest.mark.parametrize("rounds", [20, None])
def test_what_stays_disturbed_ends_at_twice_the_time_and_says_so(
    monkeypatch: pytest.MonkeyPatch, rounds: int | None
) -> None:
    neighbour = Neighbour(monkeypatch, 0.0, 1e9)
    visits = {"a": neighbour.visit, "b": neighbour.visit}
    turns = take_turns(visits, rounds=rounds, seconds=15, seed=0, watch=neighbour.watch)
    assert turns.disturbed == pytest.approx(1.0)
    assert not turns.set_aside
    # A round takes a second: twice the rounds, or twice the seconds.
    assert len(turns.order) == pytest.approx(2 * (rounds or 15), abs=1)


def disturb(whole: Comparison, cores: float) -> Comparison:
    """Return a comparison all of whose rounds others disturbed."""

    def changed(rows: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
        return tuple(replace(row, disturbed=cores) if row.images else row for row in rows)

    measured = {name: changed(rows) for name, rows in whole.measurements.items()}
    return replace(whole, measurements=measured, same_model_twice=changed(whole.same_model_twice))


def test_no_ratio_of_disturbed_rounds_claims_a_winner() -> None:
    quiet = comparison(ZOO[:2])
    rates = [quiet.measurements[name][0] for name in quiet.models]
    _, low, high = speed_ratio(rates[0], rates[1])
    assert verdict(low, high) in ("faster", "slower")
    loud = [replace(row, disturbed=0.8) for row in rates]
    _, low, high = speed_ratio(loud[0], loud[1])
    assert verdict(low, high) == "undecided"
    assert speed_p_values([(loud[0], loud[1])]) == [1.0]
    assert rate_interval(loud[0])[1] == float("inf")


def entries_with(whole: Comparison, **changes: Any) -> list[Entry]:
    cells = [Cell(replace(record(animal), **changes), Path("none")) for animal in ZOO[:2]]
    run = Run("demo", Path("none"), tuple(cells), join_comparisons([whole]), (whole,))
    return entries_of(Source((run,), ()))


def test_the_head_and_the_terminal_say_who_was_there() -> None:
    entries = entries_with(disturb(comparison(ZOO[:2]), 0.8), environment={"num_cores": 2})
    group = groups_of(entries)[0]
    pairs = speed_pairs(group, SPEEDS[0], group.entries)
    assert {pair.judgement for rows in pairs.values() for pair in rows.values()} == {"undecided"}
    sentences = verdict_of(group, {}, pairs)
    assert "nother process used 0.8 of 2 cores while training and inference were" in sentences[0]
    assert not [text for text in sentences if "Fastest" in text or "fastest" in text]
    shown = rows_of(group)[0]
    assert [text for text in shown if text.endswith("*")]


def test_a_quiet_run_says_nothing() -> None:
    entries = entries_with(comparison(ZOO[:2]))
    assert describe_disturbances(entries) == []
    assert not is_disturbed(entries[0], "top1")
    assert not [text for text in rows_of(groups_of(entries)[0])[0] if text.endswith("*")]


def test_a_cell_whose_seconds_were_disturbed_says_so() -> None:
    before = record(ZOO[0])
    epochs = tuple(replace(row, taken_cores=0.5) for row in before.epochs)
    config = before.config | {"seconds": 30.0, "epochs": None}
    entries = entries_with(comparison(ZOO[:2]), epochs=epochs, config=config)
    assert taken_in_training(entries[0].record) == pytest.approx(0.5)
    said = describe_disturbances(entries)[0]
    assert "(seed 0) was trained, which left it fewer steps in its 30 s" in said
    assert is_disturbed(entries[0], "top1")


def test_a_busy_process_is_seen_from_the_counters() -> None:
    """Oracle: a process that the test keeps busy on a core that this one asks for."""
    watch = Watch(cast(Runtime, FakeRuntime()))
    with keep_core_busy():
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            pass
        assert watch.read_taken() > DISTURBANCE


class FakeRuntime:
    """A world of one process that asks for all cores."""

    world = World(0, 1, 0, 1)
    num_threads = 1_000
    device = torch.device("cpu")

    def gather(self, value: object) -> list[object]:
        return [value]
