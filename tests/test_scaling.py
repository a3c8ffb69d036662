"""Several comparisons of one run, and runs of several worlds.

Oracle: rates that are set, so that ratios are known.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup
from scipy import stats

from bench.request.command_line import parse
from bench.request.config import OPTIONS, to_json
from bench.results import verdict
from bench.results.interval import over_launches
from bench.results.record import Comparison, Measurement
from bench.results.setting import SETTINGS
from reports.chart.effort import effort_to
from reports.chart.scaling import draw_scaling, efficiencies
from reports.frame import derive_figures
from reports.pairs import SPEEDS, speed_pairs
from reports.ranking import Entry, Group, entries_of, groups_of, shared_and_different
from reports.runs import Cell, Run, Source, join_comparisons
from reports.table import heading
from reports.verdict_text import verdict_of
from reports.view import build_view
from reports.warning import warnings_of
from tests.support.record_factory import (
    ZOO,
    Animal,
    comparison,
    data_info,
    environment,
    measurements,
    rate,
    record,
)

A, B, C = (
    Animal(name, "f", 10, 10, speed, 50) for name, speed in (("a", 1_000), ("b", 500), ("c", 250))
)


def group_of(animals: list[Animal], compared: list[Comparison]) -> tuple[Group, dict[str, Entry]]:
    cells = tuple(Cell(record(animal), Path("none")) for animal in animals)
    run = Run("demo", Path("none"), cells, join_comparisons(compared), tuple(compared))
    entries = entries_of(Source((run,), ()))
    return groups_of(entries)[0], {entry.model: entry for entry in entries}


def test_models_of_different_groups_are_compared_through_the_one_they_share() -> None:
    first = comparison([A, B])
    second = replace(comparison([A, C]), group=1)
    group, entries = group_of([A, B, C], [first, second])
    pairs = speed_pairs(group, SPEEDS[0], group.entries)
    direct, through = (
        pairs[entries["a"].key][entries["b"].key],
        pairs[entries["b"].key][entries["c"].key],
    )
    assert direct.value == pytest.approx(0.5, rel=0.02)
    assert through.value == pytest.approx(0.5, rel=0.02)
    assert through.judgement == "slower"
    assert through.high / through.low > direct.high / direct.low  # two intervals are in it


def test_models_beside_different_references_are_not_compared() -> None:
    fast = Animal("d", "f", 10, 10, 4_000, 50)
    # As fast as b was against a, c was against d: multiplied, the two would say "the same".
    slow = Animal("c", "f", 10, 10, 2_000, 50)
    first, second = comparison([A, B]), replace(comparison([fast, slow]), group=1)
    group, entries = group_of([A, B, fast, slow], [first, second])
    pairs = speed_pairs(group, SPEEDS[0], group.entries)
    assert entries["c"].key not in pairs[entries["b"].key]
    assert entries["b"].key not in pairs[entries["c"].key]
    assert pairs[entries["d"].key][entries["c"].key].value == pytest.approx(0.5, rel=0.02)


def test_several_launches_are_one_ratio_with_the_spread_between_them() -> None:
    def launch(number: int, factor: float) -> Comparison:
        rows = {
            animal.name: (rate(SPEEDS[0], animal.images_per_second, (animal.name, number)),)
            for animal in (A, B)
        }
        slower = tuple(value * factor for value in rows["b"][0].values[0])
        return replace(
            comparison([A, B]),
            launch=number,
            measurements=rows | {"b": (replace(rows["b"][0], values=(slower,)),)},
        )

    launches = [launch(number, factor) for number, factor in enumerate((1.0, 1.2, 0.9, 1.1))]
    group, entries = group_of([A, B], launches)
    pair = speed_pairs(group, SPEEDS[0], group.entries)[entries["a"].key][entries["b"].key]
    medians = [
        math.log(verdict.speed_ratio(c.measurements["b"][0], c.measurements["a"][0])[0])
        for c in launches
    ]
    expected = stats.t.interval(0.95, 3, np.mean(medians), stats.sem(medians))
    assert (pair.low, pair.high) == pytest.approx(tuple(np.exp(expected)))


@pytest.mark.parametrize("launches", [2, 3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.02, 0.1])
def test_the_interval_over_launches_holds_the_truth(launches: int, between: float) -> None:
    rng, own, covered, repeats = np.random.default_rng(launches), 0.02, 0, 1_000
    for _ in range(repeats):
        medians = rng.normal(0, math.hypot(between, own), size=launches)
        found, p = over_launches(list(medians), [1.96 * own] * launches)
        covered += found.low <= 0 <= found.high
        assert (p < 0.05) == (not found.low <= 0 <= found.high)
    assert (
        0.94 * repeats <= covered
    )  # with own halves as the least width, equals are covered more often
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
    assert (
        by_kind["strong"].percent.low
        < by_kind["strong"].percent.value
        < by_kind["strong"].percent.high
    )
    assert by_kind["strong"].communication == pytest.approx((20, 20, 20))
    assert "strong efficiency on 2 processes against 1 is 75 %" in by_kind["strong"].sentence


def test_series_of_one_model_are_lines_of_their_own() -> None:
    sizes = ((1, 128, 100.0), (2, 128, 150.0), (1, 256, 120.0), (2, 256, 200.0), (2, 256, 220.0))
    runs = [replace(world(*each), name=f"run {i}") for i, each in enumerate(sizes)]
    strong, weak = draw_scaling(build_view(Source(tuple(runs), ())))
    lines = {line["name"]: line for line in strong.traces if line.get("role") is None}
    assert lines["a · run 0"]["y"] == pytest.approx([75], rel=0.02)
    # Two runs that differ in nothing are two points of one line.
    assert lines["a · run 2"]["y"] == pytest.approx([100 * 200 / 240, 100 * 220 / 240], rel=0.02)
    assert lines.keys() == {"a · run 0", "a · run 2"}
    assert [line["name"] for line in weak.traces[:-1]] == ["a"]


def test_runs_with_other_threads_are_no_series() -> None:
    other = world(2, 128, 150.0)
    (cell,) = other.cells
    threads = replace(cell.record, environment=environment(num_threads=2))
    moved = replace(other, cells=(Cell(threads, Path("none")),))
    assert efficiencies(groups_of(entries_of(Source((world(1, 128, 100.0), moved), ())))) == []


def test_work_is_six_operations_a_multiply_add_and_image() -> None:
    whole = record(ZOO[0])
    found = derive_figures(whole, comparison(ZOO[:1]))
    speed = next(m for m in measurements(ZOO[0]) if m.metric == SPEEDS[0]).value
    assert found["train_gflops_per_second"].value == pytest.approx(
        6 * ZOO[0].multiply_adds * speed / 1e9
    )


def test_effort_to_an_accuracy_counts_seeds_that_never_got_there_as_the_longest() -> None:
    _, entries = group_of([ZOO[0]], [])
    (entry,) = entries.values()
    curve = entry.finished[0].record.epochs
    first = next(row for row in curve if row.evaluation and row.evaluation.top1 >= 20)
    work = 3 * ZOO[0].multiply_adds * first.images
    assert effort_to(entry, 20) == (first.seconds, first.images, work)
    assert effort_to(entry, 99) == ()
    never = [
        Cell(replace(entry.finished[0].record, seed=i, epochs=curve[:1]), Path("none"))
        for i in (1, 2)
    ]
    assert effort_to(replace(entry, cells=(*entry.cells, *never)), 20) == ()


def test_one_model_alone_has_no_verdict() -> None:
    group, entries = group_of([A], [comparison([A])])
    (sentence,) = verdict_of(group, {}, {})
    assert "a alone" in Markup(sentence).striptags()
    assert "a verdict needs another model" in sentence
    assert entries["a"].run.comparison is not None


def test_what_the_machine_did_is_said_beside_the_numbers_of_that_pass() -> None:
    conditions = {
        "train": {"seconds": 10.0, "load": 3.0, "other_cores": 1.7, "stolen_cores": 0.0},
        "infer": {
            "seconds": 5.0,
            "load": 1.0,
            "other_cores": 0.01,
            "stolen_cores": 0.3,
            "stopped_seconds": 1.0,
        },
    }
    _, entries = group_of([A, B], [replace(comparison([A, B]), conditions=conditions)])
    found = {
        (warned.text.split(" during")[0], warned.column)
        for warned in warnings_of(list(entries.values()))
    }
    assert ("Other processes used 1.7 cores", "train_images_per_second") in found
    assert (
        "The host of this virtual machine took 0.30 cores",
        "infer_images_per_second",
    ) in found
    assert (
        "The container's quota stopped the run for 1.0 s",
        "infer_images_per_second",
    ) in found
    assert not [
        column for text, column in found if "Other processes" in text and column.startswith("infer")
    ]


def test_rounds_that_can_prove_nothing_say_how_many_would() -> None:
    animals = [A, B, C]
    _, entries = group_of(animals, [comparison(animals, rounds=6)])
    texts = [warned.text for warned in warnings_of(list(entries.values()))]
    assert (
        "6 rounds can't prove a difference among 3 models: it takes 7." in texts
    )  # 3 x 2 / 2^7 < 0.05 < 3 x 2 / 2^6
    _, few = group_of(animals, [comparison(animals, rounds=3)])
    assert any("it takes 6" in warned.text for warned in warnings_of(list(few.values())))


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": environment(tf32=True)},
        {"environment": environment(cudnn_benchmark=True)},
        {"environment": environment(num_threads=1)},
        {"batch_size": 64},
        {"data": data_info(checksum="another")},
        {"config": {"precision": "bf16"}},
        {"config": {"channels_last": False}},
        {"config": {"compile": True}},
        {"config": {"best_batch": True}},
        {"config": {"epochs": 200}},
        {"config": {"seconds": 30.0}},
        {"config": {"accumulate": 4}},
        {"environment": environment(asked_optimizer="adamw")},
        {"environment": environment(asked_lr=0.1)},
        {"config": {"momentum": 0.8}},
        {"config": {"weight_decay": 0.1}},
        {"config": {"schedule": "cosine"}},
        {"config": {"schedule": "plateau", "patience": 9}},
        {"config": {"warmup": 0.5}},
        {"config": {"label_smoothing": 0.1}},
        {"config": {"dropout": 0.0}},
        {"config": {"drop_path": 0.1}},
        {"config": {"clip": 1.0}},
        {"config": {"ema": 0.99}},
        {"config": {"augment": ["crop"]}},
        {"config": {"balance": True}},
        {"config": {"class_weights": True}},
        {"config": {"pretrained": "hub"}},
        {"config": {"crops": 10}},
        {"config": {"exact": True}},
        {"config": {"sync_batchnorm": True}},
        {"config": {"workers": 2}},
        {"config": {"pack": True}},
        {"config": {"parallel": "tower"}},
        {"environment": environment(torch="2.9.0")},
        {"environment": environment(cuda="13.0")},
        {"environment": environment(cpu_capability="DEFAULT")},
        {"environment": environment(large_pages=True)},
        {"environment": environment(deterministic=True)},
    ],
    ids=str,
)
def test_records_of_other_settings_or_data_are_not_ranked_together(changes: dict[str, Any]) -> None:
    plain = record(A)
    config = {"config": dict(plain.config) | changes["config"]} if "config" in changes else changes
    other = replace(record(B), **config)
    cells = tuple(Cell(each, Path("none")) for each in (plain, other))
    groups = groups_of(entries_of(Source((Run("demo", Path("none"), cells, None),), ())))
    assert len(groups) == 2
    assert shared_and_different(groups)[1]


def test_what_is_left_to_the_models_or_means_the_same_does_not_separate_them() -> None:
    """Each with its own rate and optimiser; augmentations in another order; an older record."""
    plain = to_json(parse(["--models", "a", "b", "--epochs", "1"]))
    first = record(A, config=plain | {"optimizer": "sgd", "lr": 0.05})
    own = {"optimizer": "adamw", "lr": 0.001, "augment": ["mirror", "crop"], "patience": 8}
    second = record(B, config=plain | own)
    later = {"pretrained", "crops", "class_weights", "exact", "sync_batchnorm", "parallel"}
    older = {name: value for name, value in first.config.items() if name not in later}
    third = record(C, config=older)
    cells = tuple(Cell(each, Path("none")) for each in (first, second, third))
    (group,) = groups_of(entries_of(Source((Run("demo", Path("none"), cells, None),), ())))
    assert len(group.entries) == 3


# Options that change no number, with the reason.
OF_NO_NUMBER = {
    "models": "a row is a model",
    "recipe": "its options are compared one by one",
    "dataset": "the data's own name and checksum are",
    "data_dir": "the data's checksum is",
    "skip_unreadable": "the data's checksum is",
    "seeds": "a row is a mean over seeds, whose spread it shows",
    "best_batch": "in the batch size",
    "optimizer": "as it was asked for: asked_optimizer",
    "lr": "as it was asked for: asked_lr",
    "pack_size": "in packed",
    "pack": "in packed",
    "assess_train": "what is evaluated besides",
    "measure": "what is measured, not how",
    "pairs": "how often, which the intervals show",
    "measure_seconds": "how often, which the intervals show",
    "launches": "how often, which the intervals show",
    "allow_emulated": "what came of it: bf16_unit",
    "epochs": "budget_epochs",
    "seconds": "budget_seconds",
    "least_steps": "what came of it: budget_seconds",
    "left_out": "which models there are",
    "train": "train_mode",
} | dict.fromkeys(
    ("out", "track", "resume", "checkpoint_seconds", "timeout", "restarts", "dry_run", "like"),
    "how a run is kept, watched and gone on with",
)


def test_every_option_is_a_setting_or_changes_no_number() -> None:
    settings = {setting.name for setting in SETTINGS}
    assert set(OPTIONS) - settings - set(OF_NO_NUMBER) == {"world"}  # the record's world_size is
    assert not settings & set(OF_NO_NUMBER)


def test_a_group_without_augmentations_says_none() -> None:
    plain, moved = (
        replace(record(A), config=record(A).config | {"augment": given})
        for given in ([], ["mirror", "crop"])
    )
    cells = tuple(Cell(one, Path("none")) for one in (plain, moved))
    groups = groups_of(entries_of(Source((Run("demo", Path("none"), cells, None, ()),), ())))
    _, different = shared_and_different(groups)
    assert [heading(group, different) for group in groups] == [
        "augmentation none",
        "augmentation crop+mirror",
    ]
