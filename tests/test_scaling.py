"""Several comparisons of one run, and runs of several worlds. Oracle: rates that are set, so that ratios are known."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from record_factory import ZOO, Animal, comparison, environment, measurements, rate, record
from scipy import stats

from bench import verdict
from bench.interval import over_launches
from bench.record import Comparison, Measurement
from reports.cost_figure import effort_to
from reports.derived import derived
from reports.pair import SPEEDS, speed_pairs
from reports.scaling import efficiencies
from reports.source import Cell, Run, Source, joined
from reports.standing import Entry, Group, entries_of, groups_of

A, B, C = (Animal(name, "f", 10, 10, speed, 50) for name, speed in (("a", 1_000), ("b", 500), ("c", 250)))


def group_of(animals: list[Animal], compared: list[Comparison]) -> tuple[Group, dict[str, Entry]]:
    cells = tuple(Cell(record(animal), Path("none")) for animal in animals)
    run = Run("demo", Path("none"), cells, joined(compared), tuple(compared))
    entries = entries_of(Source((run,), ()))
    return groups_of(entries)[0], {entry.model: entry for entry in entries}


def test_models_of_different_groups_are_compared_through_the_one_they_share() -> None:
    first = comparison([A, B])
    second = replace(comparison([A, C]), group=1)
    group, entries = group_of([A, B, C], [first, second])
    pairs = speed_pairs(group, SPEEDS[0], group.entries)
    direct, through = pairs[entries["a"].key][entries["b"].key], pairs[entries["b"].key][entries["c"].key]
    assert direct.value == pytest.approx(0.5, rel=0.02)
    assert through.value == pytest.approx(0.5, rel=0.02)
    assert through.judgement == "slower"
    assert through.high / through.low > direct.high / direct.low  # two intervals are in it


def test_several_launches_are_one_ratio_with_the_spread_between_them() -> None:
    def launch(number: int, factor: float) -> Comparison:
        rows = {animal.name: (rate(SPEEDS[0], animal.images_per_second, (animal.name, number)),) for animal in (A, B)}
        slower = tuple(value * factor for value in rows["b"][0].values[0])
        return replace(
            comparison([A, B]), launch=number, measurements=rows | {"b": (replace(rows["b"][0], values=(slower,)),)}
        )

    launches = [launch(number, factor) for number, factor in enumerate((1.0, 1.2, 0.9, 1.1))]
    group, entries = group_of([A, B], launches)
    pair = speed_pairs(group, SPEEDS[0], group.entries)[entries["a"].key][entries["b"].key]
    medians = [math.log(verdict.speed_ratio(c.measurements["b"][0], c.measurements["a"][0])[0]) for c in launches]
    expected = stats.t.interval(0.95, 3, np.mean(medians), stats.sem(medians))
    assert (pair.low, pair.high) == pytest.approx(tuple(np.exp(expected)))


@pytest.mark.parametrize("launches", [2, 3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.02, 0.1])
def test_the_interval_over_launches_holds_the_truth(launches: int, between: float) -> None:
    rng, own, covered, repeats = np.random.default_rng(launches), 0.02, 0, 2_000
    for _ in range(repeats):
        medians = rng.normal(0, math.hypot(between, own), size=launches)
        found, p = over_launches(list(medians), [1.96 * own] * launches)
        covered += found.low <= 0 <= found.high
        assert (p < 0.05) == (not found.low <= 0 <= found.high)
    assert 0.94 * repeats <= covered  # with own halves as the least width, equals are covered more often
    assert between == 0.0 or covered <= 0.985 * repeats


def world(size: int, batch: int, images_per_second: float, *, unsynced: float = 0.0) -> Run:
    rows: tuple[Measurement, ...] = (rate(SPEEDS[0], images_per_second, "a", images=batch),)
    if unsynced:
        step = rate("train_step_images_per_second", 100.0, "a", images=batch)
        less = tuple(value * (1 - unsynced) for value in step.values[0])
        rows += (step, replace(step, metric="unsynced_step_images_per_second", values=(less,)))
    compared = replace(comparison([A]), measurements={"a": rows}, world_size=size, batch_size=batch)
    one = record(A, world_size=size, batch_size=batch, environment=environment(num_threads=1))
    return Run(f"{size}", Path("none"), (Cell(one, Path("none")),), compared, (compared,))


def test_strong_and_weak_efficiency_are_rates_over_processes() -> None:
    runs = (world(1, 128, 100.0), world(2, 128, 150.0, unsynced=0.2), world(2, 256, 190.0))
    found = efficiencies(groups_of(entries_of(Source(runs, ()))))
    by_kind = {each.kind: each for each in found}
    assert by_kind["strong"].percent.value == pytest.approx(75, rel=0.02)
    assert by_kind["weak"].percent.value == pytest.approx(95, rel=0.02)
    assert by_kind["strong"].percent.low < by_kind["strong"].percent.value < by_kind["strong"].percent.high
    assert by_kind["strong"].communication == pytest.approx((20, 20, 20))
    assert "strong efficiency on 2 processes against 1 is 75 %" in by_kind["strong"].sentence


def test_runs_with_other_threads_are_no_series() -> None:
    other = world(2, 128, 150.0)
    (cell,) = other.cells
    threads = replace(cell.record, environment=environment(num_threads=2))
    moved = replace(other, cells=(Cell(threads, Path("none")),))
    assert efficiencies(groups_of(entries_of(Source((world(1, 128, 100.0), moved), ())))) == []


def test_work_is_six_operations_a_multiply_add_and_image() -> None:
    whole = record(ZOO[0])
    found = derived(whole, comparison(ZOO[:1]))
    speed = next(m for m in measurements(ZOO[0]) if m.metric == SPEEDS[0]).value
    assert found["train_gflops_per_second"].value == pytest.approx(6 * ZOO[0].multiply_adds * speed / 1e9)


def test_effort_to_an_accuracy_counts_seeds_that_never_got_there_as_the_longest() -> None:
    _, entries = group_of([ZOO[0]], [])
    (entry,) = entries.values()
    curve = entry.finished[0].record.epochs
    first = next(row for row in curve if row.evaluation and row.evaluation.top1 >= 20)
    work = 3 * ZOO[0].multiply_adds * first.images
    assert effort_to(entry, 20) == (first.seconds, first.images, work)
    assert effort_to(entry, 99) == ()
    never = [Cell(replace(entry.finished[0].record, seed=i, epochs=curve[:1]), Path("none")) for i in (1, 2)]
    assert effort_to(replace(entry, cells=(*entry.cells, *never)), 20) == ()
